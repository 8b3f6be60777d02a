"""SuggestMeetupPlan: by Claude where it can, by the catalogue wherever it cannot."""

import json
import uuid
from typing import Any

import asyncpg
import grpc
import pytest

from support.claude_server import BreaksOff, ClaudeServer, Refuses, Says
from support.edge import failure_of
from support.requests import TIMEOUT, invite, join_pair
from support.stubs import Stubs
from wingmanmatch.coaching.v1 import coaching_pb2, coaching_service_pb2
from wingmanmatch.matching.v1 import matching_service_pb2


@pytest.fixture(scope="module")
async def catalogue(dsn: str) -> dict[str, str]:
    """Title by id."""
    sql = await asyncpg.connect(dsn)
    try:
        return {str(row["id"]): row["title"] for row in await sql.fetch("select id, title from approach_challenges")}
    finally:
        await sql.close()


async def matched(client: Stubs) -> tuple[str, str, str]:
    """Return the ids of two people and of their match, which is pending."""
    me, friend = await join_pair(client)
    return me, friend, (await invite(client, me, friend)).id


async def suggest(client: Stubs, match_id: str, user_id: str) -> coaching_pb2.MeetupPlan:
    """Ask for a plan."""
    request = coaching_service_pb2.SuggestMeetupPlanRequest(match_id=match_id, user_id=user_id)
    return (await client.coaching.SuggestMeetupPlan(request, timeout=TIMEOUT)).plan


def proposal(*challenge_ids: str, **changes: Any) -> str:
    """Return what Claude answers."""
    plan = {"venue_idea": "a flea market", "explanation": "Much to ask about.", "challenge_ids": challenge_ids}
    return json.dumps(plan | changes)


async def test_claude_proposes(client: Stubs, claude: ClaudeServer, catalogue: dict[str, str]) -> None:
    """Its place and its challenges, with the titles of the catalogue, whatever stands around the plan."""
    me, friend, match_id = await matched(client)
    first, second = list(catalogue)[:2]
    claude.script(Says(["```json\n", proposal(first, second), "\n```"]))
    plan = await suggest(client, match_id, friend)
    assert (plan.venue_idea, plan.source) == ("a flea market", coaching_pb2.MEETUP_PLAN_SOURCE_COACH)
    assert [(each.user_id, each.challenge_id, each.title) for each in plan.challenges] == [
        (me, first, catalogue[first]),
        (friend, second, catalogue[second]),
    ]
    sent = json.dumps(claude.requests[0])
    assert catalogue[first] in sent
    assert me not in sent
    assert friend not in sent


FIRST = "c1a11e9e-0001-4000-8000-000000000001"
UNUSABLE = {
    "no plan": Says(["Meet at a park!"]),
    "an unknown challenge": Says([proposal(FIRST, str(uuid.UUID(int=7)))]),
    "one challenge": Says([proposal(FIRST)]),
    "too long": Says([proposal(FIRST, FIRST, venue_idea="a " * 100)]),
    "cut off": Says([proposal(FIRST, FIRST)], stop="max_tokens"),
    "refused": Says([], stop="refusal"),
    "unsayable": Says([proposal(FIRST, FIRST, explanation="Get her a little drunk first.")]),
    "away": Refuses(401),
    "our defect": Refuses(400),
    "broken off": BreaksOff(['{"venue_idea"'], "drop"),
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE)
async def test_catalogue_proposes_where_claude_does_not(
    client: Stubs, claude: ClaudeServer, catalogue: dict[str, str], answer: Says | Refuses | BreaksOff
) -> None:
    """The same plan every time, to both people."""
    me, friend, match_id = await matched(client)
    claude.script(answer, answer)
    plans = [await suggest(client, match_id, user_id) for user_id in (me, friend)]
    assert plans[0] == plans[1]
    assert plans[0].source == coaching_pb2.MEETUP_PLAN_SOURCE_CATALOGUE
    assert [each.user_id for each in plans[0].challenges] == [me, friend]
    assert all(catalogue[each.challenge_id] == each.title for each in plans[0].challenges)
    assert len(claude.requests) == 2


async def test_plan_is_for_the_two(client: Stubs, claude: ClaudeServer) -> None:
    """To a stranger there is no such match, and one that is over needs no plan."""
    me, _, match_id = await matched(client)
    failure = await failure_of(suggest(client, match_id, str(uuid.uuid4())))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MATCH_NOT_FOUND")
    cancel = matching_service_pb2.CancelMatchRequest(match_id=match_id, user_id=me)
    await client.matching.CancelMatch(cancel, timeout=TIMEOUT)
    failure = await failure_of(suggest(client, match_id, me))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MATCH_NOT_ACCEPTED")
    assert failure.metadata["state"] == "CANCELLED"
    assert claude.requests == []
