"""Joins the coach: Claude, a person's budget of tokens, and conversations in Redis."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from wingmanmatch_server import errors
from wingmanmatch_server.bootstrap.area import Area
from wingmanmatch_server.bootstrap.core import Core
from wingmanmatch_server.coaching.budget import SECONDS_A_DAY, Taken, TokenBudget
from wingmanmatch_server.coaching.claude import Claude, open_claude
from wingmanmatch_server.coaching.coach import Coach
from wingmanmatch_server.coaching.conversation_store import ConversationStore
from wingmanmatch_server.coaching.export import export_conversations
from wingmanmatch_server.coaching.metrics import CoachingMetrics
from wingmanmatch_server.coaching.new_conversations import NewConversations
from wingmanmatch_server.coaching.planner import Adviser, Planner
from wingmanmatch_server.coaching.prompts import Prompts
from wingmanmatch_server.coaching.replies import Replies
from wingmanmatch_server.coaching.safety import Safety
from wingmanmatch_server.coaching.screening import Screening
from wingmanmatch_server.coaching.second_opinion import SecondOpinion
from wingmanmatch_server.coaching.service import CoachingService
from wingmanmatch_server.coaching.store import CoachingStore
from wingmanmatch_server.drivers.redis import ScriptFailed, unavailable
from wingmanmatch_server.ratelimit.limiter import Limiter
from wingmanmatch_server.ratelimit.policies import MICROSECONDS, Policy, make_limit
from wingmanmatch_server.ratelimit.token_bucket import RequestId
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.dependencies import Dependency

COACHING_TOKENS = "coaching_tokens"
LASTING = {"CIRCUIT_OPEN", "RECORD_VERSION_UNKNOWN"}  # reasons that another attempt in a moment would meet again
PUT_BACK_ATTEMPTS = 5  # all within the ten seconds for which a repeated refund is known as one


@asynccontextmanager
async def open_coaching(core: Core) -> AsyncIterator[Area]:
    """Make what coaches; Claude only where coaching is on."""
    settings, store, conversations = core.settings, CoachingStore(core.database), make_conversations(core)
    # The phrases of ten languages take most of a second to read.
    safety, replies, metrics = await asyncio.to_thread(Safety), Replies(), CoachingMetrics(core.registry)
    beginnings = NewConversations(conversations, store)
    async with AsyncExitStack() as stack:
        if not settings.coaches:
            screening = Screening(safety, replies, conversations, beginnings, metrics)
            service = CoachingService(screening, None, conversations, Planner(store, None))
            yield _area(service, conversations)
            return
        claude = await stack.enter_async_context(open_model(core, settings.coaching_model))
        budget, prompts = make_budget(core.limiter), Prompts()
        opinion = None
        if settings.coaching_safety_model:
            small = await stack.enter_async_context(open_model(core, settings.coaching_safety_model))
            opinion = SecondOpinion(small, budget, prompts, safety, metrics)
        screening = Screening(safety, replies, conversations, beginnings, metrics, opinion)
        coach = Coach(
            claude,
            conversations,
            beginnings,
            store,
            budget,
            safety,
            screening,
            replies,
            prompts,
            metrics,
            max_output_tokens=settings.coaching_max_output_tokens,
            clock=time.monotonic,
            now=_now,
        )
        planner = Planner(store, Adviser(claude, budget, prompts, safety))
        service = CoachingService(screening, coach, conversations, planner)
        yield _area(service, conversations, claude_dependency(claude, core.breakers["external_api"]))


def open_model(core: Core, model: str) -> AbstractAsyncContextManager[Claude]:
    """Open a client of one of Claude's models; all models share a circuit breaker."""
    key = core.settings.anthropic_api_key
    assert key is not None
    breaker, retry = core.breakers["external_api"], core.retries["external_api"]
    return open_claude(key.get_secret_value(), breaker, retry, model, core.settings.coaching_timeout)


def make_conversations(core: Core) -> ConversationStore:
    """Return what keeps conversations, whether or not coaching is on: what was said before can be had and deleted."""
    return ConversationStore(
        core.redis,
        core.breakers["redis"],
        core.retries["redis"],
        ttl=timedelta(hours=core.settings.coaching_conversation_hours),
        now=_now,
        new_id=lambda: str(uuid.uuid4()),
    )


def _area(service: CoachingService, conversations: ConversationStore, *dependencies: Dependency) -> Area:
    return Area(
        services={"wingmanmatch.coaching.v1.CoachingService": service},
        erasers={"conversations": conversations.delete_of_user},
        sources={"CONVERSATION": partial(export_conversations, conversations)},
        dependencies=dependencies,
    )


def coaching_policy(settings: Settings) -> Policy:
    """Return the rate limit policy of a person's tokens, which fills in a day."""
    refill = settings.coaching_daily_tokens / SECONDS_A_DAY
    return Policy(make_limit(COACHING_TOKENS, settings.coaching_daily_tokens, refill), refill)


def make_budget(limiter: Limiter) -> TokenBudget:
    """Return the budget of tokens on the buckets of the rate limits."""
    # A decision on a limit waits for Redis for some milliseconds only. What is put back has more time, and is a call
    # for each answer at most, which shares its round trips with others.
    patient = AsyncRetrying(
        stop=stop_after_attempt(PUT_BACK_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.1, max=1.0),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )

    async def take(user_id: str, tokens: int) -> Taken:
        ask = limiter.resolve(COACHING_TOKENS, user_id, tokens, "")
        decision = await limiter.decide([ask])
        answer = decision.answers[0]
        retry = None if decision.allowed or answer.retry < 0 else answer.retry / MICROSECONDS
        return Taken(decision.allowed, answer.remaining, retry, exact=not decision.degraded)

    async def put_back(user_id: str, tokens: int) -> None:
        asks = [limiter.resolve(COACHING_TOKENS, user_id, tokens, "")]
        once = RequestId(str(uuid.uuid4()), str(tokens))
        try:
            await patient(limiter.refund, asks, once)
        except ScriptFailed:
            raise unavailable() from None

    def capacity(user_id: str) -> int:
        return limiter.policies.policy(COACHING_TOKENS).limit_for(user_id, "").capacity

    return TokenBudget(take, put_back, capacity)


def _may_pass(error: BaseException) -> bool:
    """Tell whether a call that failed may succeed in a moment."""
    return isinstance(error, errors.Unavailable) and error.reason not in LASTING


def claude_dependency(claude: Claude, breaker: Breaker) -> Dependency:
    """Return how Claude does, as its own calls have found: nobody is asked, since every question costs."""

    async def ping() -> float:
        if breaker.open_for():
            raise errors.Unavailable("CIRCUIT_OPEN", "the last calls failed", retry_after=breaker.open_for())
        return claude.latency

    return Dependency(breaker.name, "Claude coaches; judged by its answers, latency until one begins", ping)


def _now() -> datetime:
    return datetime.now(UTC)
