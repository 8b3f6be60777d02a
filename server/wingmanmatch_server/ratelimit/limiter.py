"""Decides. The edge, RateLimitService and Envoy's protocol all ask here."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import ScriptFailed, unavailable
from wingmanmatch_server.drivers.redis_records import unknown_version
from wingmanmatch_server.ratelimit.batch import Answer, Answers, Ask, Asks
from wingmanmatch_server.ratelimit.denials import Denials
from wingmanmatch_server.ratelimit.local_buckets import LocalBuckets
from wingmanmatch_server.ratelimit.metrics import DEGRADED_SUFFIX, LOCAL_SUFFIX, RateLimitMetrics
from wingmanmatch_server.ratelimit.policies import (
    BACKEND_API,
    MICROSECONDS,
    UNLIMITED,
    Limit,
    Outage,
    Policies,
    outside,
    resized,
)
from wingmanmatch_server.ratelimit.token_bucket import RequestId, TokenBuckets

log = structlog.get_logger(__name__)

JITTER = 0.1  # by which part at most a hint to come back is later than need be
PASSES = Answer(1, UNLIMITED, 0, 0)
BLOCKED = Answer(0, 0, -1, 0)


class Decision(NamedTuple):
    """One answer for each ask. `allowed` leaves out limits that are only tried."""

    asks: Asks
    answers: Answers
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
        self.outside = outside(policies)
        self._backends: dict[int, Limit] = {}  # by calls a second
        self._local.replicas = policies.replicas
        self._local.clear()
        self._denials.forget()

    def resolve(self, policy: str, subject: str, cost: int, caller: str, policies: Policies | None = None) -> Ask:
        """Return what to ask for `cost` tokens of a subject when `caller` asks. Raises errors.NotFound.

        `policies` are those that the caller meets: `self.outside` where it may not touch the server's own buckets.
        """
        policies = policies or self.policies
        limit = policies.without_overrides.get(policy) or policies.policy(policy).limit_for(subject, caller)
        return Ask(limit.key_of(subject), limit, cost)

    async def spend(self, policy: str, subject: str, caller: str = "") -> None:
        """Take one token. Raises errors.RateLimited, or errors.Unavailable where the policy says so in an outage."""
        ask = self.resolve(policy, subject, 1, caller)
        answer, degraded = await self.decide_one(ask)
        self._require(ask, answer, subject, degraded=degraded)

    async def spend_as_backend(
        self, backend: str, calls_per_second: int | None = None, protected: tuple[str, str] | None = None
    ) -> None:
        """Take one token of a backend's own bucket, and one of the `protected` policy and subject: both or none.

        `calls_per_second` is the size of the backend's bucket; None leaves it to the policy, whose overrides come
        before. Raises what `spend` does.
        """
        own = self._own_bucket(backend, calls_per_second)
        if protected is None:
            answer, degraded = await self.decide_one(own)
            self._require(own, answer, backend, degraded=degraded)
            return
        asks = [own, self.resolve(*protected, 1, backend)]
        decision = await self.decide(asks, all_or_nothing=True)
        for ask, answer, subject in zip(asks, decision.answers, (backend, protected[1]), strict=True):
            self._require(ask, answer, subject, degraded=decision.degraded)

    def _own_bucket(self, backend: str, calls_per_second: int | None) -> Ask:
        policy = self.policies.policy(BACKEND_API)
        limit = policy.limit_for(backend, backend)
        if calls_per_second is not None and limit is policy.limit:
            limit = self._backends.get(calls_per_second) or resized(limit, calls_per_second)
            self._backends[calls_per_second] = limit
        return Ask(limit.key_of(backend), limit, 1)

    def _require(self, ask: Ask, answer: Answer, subject: str, *, degraded: bool) -> None:
        if answer.allowed or ask.limit.shadow:
            return
        if degraded and ask.limit.outage is Outage.DENY:
            raise unavailable()
        raise self._refusal(ask, answer, subject)

    async def spend_all(self, policy: str, subjects: Sequence[str], caller: str = "") -> None:
        """Take one token of each subject's bucket, or of none if one has none left. Raises as `spend` does."""
        asks = [self.resolve(policy, subject, 1, caller) for subject in subjects]
        decision = await self.decide(asks, all_or_nothing=True)
        if decision.allowed:
            return
        # The one that takes longest says when to come back.
        ask, answer, subject = max(
            (
                refused
                for refused in zip(asks, decision.answers, subjects, strict=True)
                if not refused[1].allowed and not refused[0].limit.shadow
            ),
            key=lambda refused: UNLIMITED if refused[1].retry < 0 else refused[1].retry,
        )
        if decision.degraded and ask.limit.outage is Outage.DENY:
            raise unavailable()
        raise self._refusal(ask, answer, subject)

    async def decide_one(self, ask: Ask) -> tuple[Answer, bool]:
        """Do as `decide` does for one bucket, at half its cost. Return the answer, and whether it is degraded."""
        try:
            return await self._answer(ask), False
        except (errors.Unavailable, ScriptFailed) as error:
            return self._without_redis(error, [ask])[0], True

    async def decide_each(self, asks: Sequence[Ask]) -> list[tuple[Answer, bool]]:
        """Do as `decide_one` does for each, in one round trip at most."""
        known = list(map(self._answer_at_hand, asks))
        rest = [ask for ask, answer in zip(asks, known, strict=True) if answer is None]
        answers, degraded = await self._answer_rest(rest) if rest else ((), False)
        others = iter(answers)
        return [(next(others), degraded) if answer is None else (answer, False) for answer in known]

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
        except (errors.Unavailable, ScriptFailed) as error:
            answers = self._without_redis(error, asks, all_or_nothing=all_or_nothing, peek=peek)
        return _decision(Asks.of(asks), answers, degraded=True)

    async def decide_exactly(
        self,
        asks: Sequence[Ask],
        *,
        all_or_nothing: bool = False,
        peek: bool = False,
        request: RequestId | None = None,
    ) -> Decision:
        """Do as `decide` does, but raise errors.Unavailable or ScriptFailed where Redis cannot decide."""
        asks = Asks.of(asks)
        if len(asks.keys) == 1 and request is None and not peek:
            answer = await self._answer(Ask(asks.keys[0], *asks.runs[0][:2]))
            return _decision(asks, Answers.of([answer]), degraded=False)
        if not all(run.limit.counted for run in asks.runs):
            return await self._decide_partly(asks, all_or_nothing=all_or_nothing, peek=peek, request=request)
        if not all_or_nothing and not peek and request is None:
            return _decision(asks, await self._charge_each(asks), degraded=False)
        reply = await self._buckets.ask(asks, all_or_nothing=all_or_nothing, peek=peek, request=request)
        return self._decided(asks, reply.answers)

    async def refund(self, asks: Sequence[Ask], request: RequestId | None = None) -> Decision:
        """Put the cost of each ask back. Raises errors.Unavailable, and errors.InvalidArgument for a reused request.

        It is RECORD_VERSION_UNKNOWN where one of the buckets, or the request, is of a format that this version of the
        server does not know: no other bucket can stand in for it, and none is filled; on a cluster, none of its slot.
        """
        back = [ask._replace(cost=-ask.cost) for ask in asks]
        try:
            decision = await self._decide_partly(Asks.of(back), all_or_nothing=True, peek=False, request=request)
        except ScriptFailed as error:
            self._metrics.failed()
            raise unknown_version("rate limit") from error
        for ask in asks:
            self._denials.forget(ask.key)
        return decision._replace(asks=Asks.of(asks))

    async def reset(self, policy: str, subject: str, caller: str) -> Decision:
        """Fill every bucket of a subject under a policy. Raises errors.NotFound and errors.Unavailable."""
        await self._fill(policy, subject)
        ask = self.resolve(policy, subject, 0, caller)
        return Decision(Asks.of([ask]), Answers.of([Answer(1, ask.limit.capacity, 0, 0)]), allowed=True, degraded=False)

    async def forget(self, subject: str) -> None:
        """Remove every bucket of a subject, under all policies. Raises errors.Unavailable."""
        for name in self.policies.by_name:
            await self._fill(name, subject)

    async def _fill(self, policy: str, subject: str) -> None:
        keys = {*self.policies.policy(policy).keys_of(subject), *self.outside.policy(policy).keys_of(subject)}
        await self._buckets.reset(sorted(keys))
        for key in keys:
            self._denials.forget(key)

    async def _decide_partly(
        self, asks: Asks, *, all_or_nothing: bool, peek: bool, request: RequestId | None
    ) -> Decision:
        """Decide where some limits need no bucket: they let everything pass, or nothing."""
        blocked = any(
            cost > 0 and not (limit.counted or limit.unlimited or limit.shadow) for limit, cost, _ in asks.runs
        )
        counted = [ask for ask in asks if ask.limit.counted]
        known: Iterable[Answer] = ()
        if counted:
            refused = all_or_nothing and blocked
            reply = await self._buckets.ask(
                counted, all_or_nothing=all_or_nothing, peek=peek or refused, request=request
            )
            known = reply.answers
        each = iter(known)
        answers = Answers.of(next(each) if ask.limit.counted else _without_a_bucket(ask) for ask in asks)
        return self._decided(asks, answers)

    async def _answer(self, ask: Ask) -> Answer:
        """Charge one bucket: from what is remembered of it, or in Redis."""
        answer = self._answer_at_hand(ask)
        if answer is not None:
            return answer
        epoch = self._denials.epoch
        answer, as_of = await self._buckets.ask_one(ask)
        self._metrics.decided_one(ask, answer)
        if not answer.allowed:
            self._denials.note(ask, answer, as_of, epoch)
        return answer

    def _answer_at_hand(self, ask: Ask) -> Answer | None:
        """Return the answer that needs no Redis, or None."""
        if not ask.limit.counted:
            answer = _without_a_bucket(ask)
            self._metrics.decided_one(ask, answer)
            return answer
        known = self._denials.known(ask)
        if known is not None:
            self._metrics.decided_one(ask, known, LOCAL_SUFFIX)
        return known

    async def _answer_rest(self, asks: Sequence[Ask]) -> tuple[Sequence[Answer], bool]:
        """Charge buckets in Redis, or by their outage behaviour; return the answers, and whether they are degraded."""
        if len(asks) == 1:
            answer, degraded = await self.decide_one(asks[0])
            return [answer], degraded
        try:
            return await self._charge_in_redis(Asks.of(asks)), False
        except ScriptFailed:
            pairs = [await self.decide_one(ask) for ask in asks]
            return [answer for answer, _ in pairs], any(degraded for _, degraded in pairs)
        except errors.Unavailable as error:
            return self._without_redis(error, asks), True

    async def _charge_each(self, asks: Asks) -> Answers:
        """Charge buckets, each for itself: from what is remembered of some, and the rest in Redis."""
        if self._denials.know_none_of(asks.keys):
            return await self._charge_in_redis(asks)
        known = list(map(self._answer_at_hand, asks))
        rest = [ask for ask, answer in zip(asks, known, strict=True) if answer is None]
        others = iter(await self._charge_in_redis(Asks.of(rest)) if rest else ())
        return Answers.of(next(others) if answer is None else answer for answer in known)

    async def _charge_in_redis(self, asks: Asks) -> Answers:
        epoch = self._denials.epoch
        reply = await self._buckets.ask(asks)
        answers = reply.answers
        self._metrics.decided(asks, answers)
        if not answers.all_pass:
            for ask, answer in zip(asks, answers, strict=True):
                if not answer.allowed:
                    self._denials.note(ask, answer, reply.as_of, epoch)
        return answers

    def _without_redis(
        self, error: Exception, asks: Sequence[Ask], *, all_or_nothing: bool = False, peek: bool = False
    ) -> Answers:
        if isinstance(error, ScriptFailed):
            log.warning("rate_limit_script_failed", error=str(error))
            self._metrics.failed()
        answers = Answers.of(self._local.ask(asks, all_or_nothing=all_or_nothing, peek=peek))
        self._metrics.decided(Asks.of(asks), answers, DEGRADED_SUFFIX)
        return answers

    def _decided(self, asks: Asks, answers: Answers) -> Decision:
        self._metrics.decided(asks, answers)
        return _decision(asks, answers, degraded=False)

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


def _without_a_bucket(ask: Ask) -> Answer:
    return PASSES if ask.limit.unlimited or ask.cost <= 0 else BLOCKED


def _decision(asks: Asks, answers: Answers, *, degraded: bool) -> Decision:
    allowed = answers.all_pass or all(
        answer.allowed or ask.limit.shadow for ask, answer in zip(asks, answers, strict=True)
    )
    return Decision(asks, answers, allowed, degraded)
