"""A plan is there before its caller gives up."""

import asyncio
import time

from support.claude import Asking
from support.claude_server import BreaksOff, ClaudeServer
from wingmanmatch_server.coaching.budget import Taken, TokenBudget
from wingmanmatch_server.coaching.planner import MODEL_SECONDS, Adviser, Planner
from wingmanmatch_server.coaching.prompts import Prompts
from wingmanmatch_server.coaching.rows import CatalogueEntry, PlanFacts, PlannedPerson
from wingmanmatch_server.coaching.safety import Safety
from wingmanmatch_server.resilience.deadline import set_deadline

FACTS = PlanFacts(
    match_id="m",
    requester=PlannedPerson("a", "BEGINNER", "GHOST", ()),
    invitee=PlannedPerson("b", "BEGINNER", "GHOST", ()),
    challenges=(CatalogueEntry("1", "A smile and a nod", "BEGINNER"),),
)


class Facts:
    """One match."""

    async def plan_facts(self, _match_id: str, _user_id: str) -> PlanFacts:
        """Return it."""
        return FACTS


async def test_rules_answer_in_time_for_a_stalled_claude(asked: Asking, claude: ClaudeServer) -> None:
    """Claude has a part of what the caller waits, and is left then; what it had read is paid for."""
    left = [100_000]

    async def take(_user_id: str, tokens: int) -> Taken:
        left[0] -= tokens
        return Taken(allowed=True, remaining=left[0], retry_after=None)

    async def put_back(_user_id: str, tokens: int) -> None:
        left[0] += tokens

    budget = TokenBudget(take, put_back, lambda _user_id: 100_000)
    planner = Planner(Facts(), Adviser(asked.claude, budget, Prompts(), Safety()))
    assert await asked.text()  # the SDK is there, so that only Claude is waited for
    claude.script(BreaksOff(['{"venue_idea": '], "stall"))
    started = time.monotonic()
    set_deadline(started + 1.0)
    plan = await planner.propose("m", "a")
    assert time.monotonic() - started < MODEL_SECONDS
    assert not plan.by_coach
    assert 100_000 - 960 < left[0] < 100_000 - 940
    async with asyncio.timeout(10):
        await claude.left.wait()
