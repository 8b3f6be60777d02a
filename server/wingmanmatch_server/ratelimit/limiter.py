"""Decides. The edge, RateLimitService and Envoy's protocol all ask here."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import ScriptFailed, unavailable
from wingmanmatch_server.ratelimit.denials import Denials
from wingmanmatch_server.ratelimit.local_buckets import LocalBuckets
from wingmanmatch_server.ratelimit.metrics import DEGRADED_SUFFIX, LOCAL_SUFFIX, RateLimitMetrics
from wingmanmatch_server.ratelimit.policies import MICROSECONDS, UNLIMITED, Outage, Policies
from wingmanmatch_server.ratelimit.token_bucket import Answer, Answers, Ask, RequestId, TokenBuckets

log = structlog.get_logger(__name__)

JITTER = 0.1  # by which part at most a hint to come back is later than need be
PASSES = Answer(1, UNLIMITED, 0, 0)
BLOCKED = Answer(0, 0, -1, 0)
ALLOWED = itemgetter(0)  # of an answer


class Decision(NamedTuple):
    """One answer for each ask. `allowed` leaves out limits that are only tried."""

    asks: Sequence[Ask]
    answers: Sequence[Answer]
    allowed: bool
    degraded: bool


class Limiter:
    """Token buckets by policy: in Redis, or by each policy's outage behaviour while Redis is away."""

    def __init__(
        self,
        policies: Policies,
        buckets: TokenBuckets,
        denials: Denials,
        local: LocalBuckets,
        metrics: RateLimitMetrics,
        random: Callable[[], float],
    ) -> None:
        """`random` returns a number from 0 up to 1."""
        self._buckets = buckets
        self._denials = denials
        self._local = local
        self._metrics = metrics
        self._random = random
        self.use(policies)

    def use(self, policies: Policies) -> None:
        """Let other policies be in force. What was used stays used."""
        self.policies = policies
        self._local.replicas = policies.replicas
        self._local.clear()
        self._denials.forget()

    def resolve(self, policy: str, subject: str, cost: int, caller: str) -> Ask:
        """Return what to ask for `cost` tokens of a subject when `caller` asks. Raises errors.NotFound."""
        limit = self.policies.without_overrides.get(policy) or self.policies.policy(policy).limit_for(subject, caller)
        return Ask(limit.key_of(subject), limit, cost)

    async def spend(self, policy: str, subject: str, caller: str = "") -> None:
        """Take one token. Raises errors.RateLimited, or errors.Unavailable where the policy says so in an outage."""
        ask = self.resolve(policy, subject, 1, caller)
        decision = await self.decide((ask,))
        if not decision.allowed:
            if decision.degraded and ask.limit.outage is Outage.DENY:
                raise unavailable()
            raise self._refusal(ask, decision.answers[0], subject)

    async def decide(
        self,
        asks: Sequence[Ask],
        *,
        all_or_nothing: bool = False,
        peek: bool = False,
        request: RequestId | None = None,
    ) -> Decision:
        """Ask the buckets in order, and charge those that allow, unless it is a peek.

        All or nothing: where one denies, none is charged. Raises errors.InvalidArgument for a reused request id. While
        Redis is away, when a spend may have happened or not, the policies' outage behaviours decide.
        """
        try:
            return await self.decide_exactly(asks, all_or_nothing=all_or_nothing, peek=peek, request=request)
        except errors.Unavailable:
            pass
        except ScriptFailed as error:
            log.warning("rate_limit_script_failed", error=str(error))
            self._metrics.failed()
        answers = self._local.ask(asks, all_or_nothing=all_or_nothing, peek=peek)
        self._metrics.decided(asks, answers, DEGRADED_SUFFIX)
        return _decision(asks, answers, degraded=True)

    async def decide_exactly(
        self,
        asks: Sequence[Ask],
        *,
        all_or_nothing: bool = False,
        peek: bool = False,
        request: RequestId | None = None,
    ) -> Decision:
        """Do as `decide` does, but raise errors.Unavailable or ScriptFailed where Redis cannot decide."""
        if len(asks) == 1 and request is None and not peek and asks[0].limit.counted:
            return await self._decide_one(asks[0])
        if not all(ask.limit.counted for ask in asks):
            return await self._decide_partly(asks, all_or_nothing=all_or_nothing, peek=peek, request=request)
        answers = await self._buckets.ask(asks, all_or_nothing=all_or_nothing, peek=peek, request=request)
        self._note(asks, answers)
        return _decision(asks, answers.answers, degraded=False)

    async def refund(self, asks: Sequence[Ask], request: RequestId | None = None) -> Decision:
        """Put the cost of each ask back. Raises errors.Unavailable, and errors.InvalidArgument for a reused request."""
        back = [ask._replace(cost=-ask.cost) for ask in asks]
        decision = await self._decide_partly(back, all_or_nothing=False, peek=False, request=request)
        for ask in asks:
            self._denials.forget(ask.key)
        return decision._replace(asks=asks)

    async def reset(self, policy: str, subject: str, caller: str) -> Decision:
        """Fill every bucket of a subject under a policy. Raises errors.NotFound and errors.Unavailable."""
        keys = self.policies.policy(policy).keys_of(subject)
        await self._buckets.reset(keys)
        for key in keys:
            self._denials.forget(key)
        ask = self.resolve(policy, subject, 0, caller)
        return _decision([ask], [Answer(1, ask.limit.capacity, 0, 0)], degraded=False)

    async def _decide_partly(
        self, asks: Sequence[Ask], *, all_or_nothing: bool, peek: bool, request: RequestId | None
    ) -> Decision:
        """Decide where some limits need no bucket: they let everything pass, or nothing."""
        blocked = any(not (ask.limit.counted or ask.limit.unlimited or ask.limit.shadow) for ask in asks)
        counted = [ask for ask in asks if ask.limit.counted]
        answers: dict[int, Answer] = {}
        if counted:
            refused = all_or_nothing and blocked
            part = await self._buckets.ask(
                counted, all_or_nothing=all_or_nothing, peek=peek or refused, request=request
            )
            places = [place for place, ask in enumerate(asks) if ask.limit.counted]
            answers = dict(zip(places, part.answers, strict=True))
        uncounted = [PASSES if ask.limit.unlimited or ask.cost <= 0 else BLOCKED for ask in asks]
        merged = [answers.get(place, uncounted[place]) for place in range(len(asks))]
        self._metrics.decided(asks, merged)
        return _decision(asks, merged, degraded=False)

    async def _decide_one(self, ask: Ask) -> Decision:
        """Charge one bucket: from what is remembered of it, or in Redis."""
        known = self._denials.known(ask)
        if known is not None:
            self._metrics.decided_one(ask, known, LOCAL_SUFFIX)
            return Decision((ask,), (known,), ask.limit.shadow, degraded=False)
        epoch = self._denials.epoch
        answers = await self._buckets.ask_one(ask)
        answer = answers.answers[0]
        self._metrics.decided_one(ask, answer)
        if answers.malformed:
            self._metrics.malformed(answers.malformed)
        if not answer.allowed:
            self._denials.note(ask, answer, answers.as_of, epoch)
        return Decision((ask,), answers.answers, bool(answer.allowed) or ask.limit.shadow, degraded=False)

    def _note(self, asks: Sequence[Ask], answers: Answers) -> None:
        self._metrics.decided(asks, answers.answers)
        if answers.malformed:
            self._metrics.malformed(answers.malformed)

    def _refusal(self, ask: Ask, answer: Answer, subject: str) -> errors.RateLimited:
        wait = answer.retry / MICROSECONDS
        return errors.RateLimited(
            ask.limit.policy,
            subject,
            capacity=ask.limit.capacity,
            window=ask.limit.capacity * ask.limit.interval / MICROSECONDS,
            remaining=answer.remaining,
            retry_after=None if answer.retry < 0 else wait * (1 + JITTER * self._random()),
        )


def _decision(asks: Sequence[Ask], answers: Sequence[Answer], *, degraded: bool) -> Decision:
    allowed = all(map(ALLOWED, answers)) or all(
        answer.allowed or ask.limit.shadow for ask, answer in zip(asks, answers, strict=True)
    )
    return Decision(asks, answers, allowed, degraded)
