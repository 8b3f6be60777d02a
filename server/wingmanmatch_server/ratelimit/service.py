"""RateLimitService: translates between the wire and the limiter."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import ADMIN, Call
from wingmanmatch_server.interceptors.errors import status_of
from wingmanmatch_server.ratelimit.batch import Answer, Ask, Asks, Run
from wingmanmatch_server.ratelimit.limiter import Decision, Limiter
from wingmanmatch_server.ratelimit.policies import MICROSECONDS, Limit, Outage, Policies, Policy
from wingmanmatch_server.ratelimit.read_ahead import ReadAhead
from wingmanmatch_server.ratelimit.token_bucket import RequestId

NO_LIMIT = Limit("", 0, 0)
Descriptors = Sequence[rate_limit_pb2.RateLimitDescriptor]
STREAM_WINDOW = 256  # checks of one stream that are read ahead
OUTAGES = {
    Outage.LOCAL: rate_limit_pb2.OUTAGE_BEHAVIOR_LOCAL,
    Outage.ALLOW: rate_limit_pb2.OUTAGE_BEHAVIOR_ALLOW,
    Outage.DENY: rate_limit_pb2.OUTAGE_BEHAVIOR_DENY,
}


class RateLimitService:
    """Each method is the RPC of its name; `rate_limit_service.proto` has the contract."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def check_rate_limit(
        self, request: rate_limit_service_pb2.CheckRateLimitRequest, call: Call
    ) -> rate_limit_service_pb2.CheckRateLimitResponse:
        """Ask buckets and charge those that allow."""
        if len(request.descriptors) == 1 and not request.request_id:
            return await self._check_one(request.descriptors[0], call)
        asks, subjects = self._asks(request.descriptors, call)
        decision = await self._limiter.decide(
            asks,
            all_or_nothing=request.mode == rate_limit_pb2.CHECK_MODE_ALL,
            request=_request_id(request, call),
        )
        response = rate_limit_service_pb2.CheckRateLimitResponse(allowed=decision.allowed, degraded=decision.degraded)
        _fill(response.results, subjects, decision)
        return response

    async def peek_rate_limit(
        self, request: rate_limit_service_pb2.PeekRateLimitRequest, call: Call
    ) -> rate_limit_service_pb2.PeekRateLimitResponse:
        """Ask buckets and charge nothing."""
        all_or_nothing = request.mode == rate_limit_pb2.CHECK_MODE_ALL
        asks, subjects = self._asks(request.descriptors, call)
        decision = await self._limiter.decide(asks, all_or_nothing=all_or_nothing, peek=True)
        response = rate_limit_service_pb2.PeekRateLimitResponse(allowed=decision.allowed, degraded=decision.degraded)
        _fill(response.results, subjects, decision)
        return response

    async def reset_rate_limit(
        self, request: rate_limit_service_pb2.ResetRateLimitRequest, call: Call
    ) -> rate_limit_service_pb2.ResetRateLimitResponse:
        """Fill a bucket."""
        decision = await self._limiter.reset(request.policy, request.subject, call.caller.name)
        response = rate_limit_service_pb2.ResetRateLimitResponse()
        _write(response.result, request.subject, decision.asks[0].limit, decision.answers[0])
        return response

    async def refund_rate_limit(
        self, request: rate_limit_service_pb2.RefundRateLimitRequest, call: Call
    ) -> rate_limit_service_pb2.RefundRateLimitResponse:
        """Put tokens back."""
        _require_own(request.descriptors, self._limiter.policies, call)
        asks, subjects = self._asks(request.descriptors, call)
        decision = await self._limiter.refund(asks, _request_id(request, call))
        response = rate_limit_service_pb2.RefundRateLimitResponse()
        _fill(response.results, subjects, decision)
        return response

    async def list_policies(
        self, _request: rate_limit_service_pb2.ListPoliciesRequest, _call: Call
    ) -> rate_limit_service_pb2.ListPoliciesResponse:
        """List the policies in force."""
        policies = self._limiter.policies
        return rate_limit_service_pb2.ListPoliciesResponse(
            policies=[_policy(policy) for policy in policies.by_name.values()], version=policies.version
        )

    async def stream_check_rate_limit(
        self, requests: AsyncIterator[rate_limit_service_pb2.StreamCheckRateLimitRequest], call: Call
    ) -> AsyncIterator[rate_limit_service_pb2.StreamCheckRateLimitResponse]:
        """Answer checks in their order; those that came meanwhile share a round trip to Redis."""
        async with aclosing(ReadAhead(requests, STREAM_WINDOW).groups()) as groups:
            async for group in groups:
                for response in await self._answer_group([request.check for request in group], call):
                    yield response

    async def _answer_group(
        self, checks: Sequence[rate_limit_service_pb2.CheckRateLimitRequest], call: Call
    ) -> Sequence[rate_limit_service_pb2.StreamCheckRateLimitResponse]:
        if all(len(check.descriptors) == 1 and not check.request_id for check in checks):
            try:
                return await self._answer_singles([check.descriptors[0] for check in checks], call)
            except errors.DomainError:
                pass  # one of them is wrong, which is found before any is charged
        # Each is under way before the next, so that they are charged in their order.
        return await asyncio.gather(*(self._answer(check, call) for check in checks))

    async def _answer_singles(
        self, descriptors: Descriptors, call: Call
    ) -> Sequence[rate_limit_service_pb2.StreamCheckRateLimitResponse]:
        asks = [self._ask(descriptor, call) for descriptor in descriptors]
        decided = await self._limiter.decide_each(asks)
        responses = []
        for descriptor, ask, (answer, degraded) in zip(descriptors, asks, decided, strict=True):
            response = rate_limit_service_pb2.StreamCheckRateLimitResponse()
            _write_one(response.check, descriptor.subject, ask.limit, answer, degraded=degraded)
            responses.append(response)
        return responses

    async def _answer(
        self, request: rate_limit_service_pb2.CheckRateLimitRequest, call: Call
    ) -> rate_limit_service_pb2.StreamCheckRateLimitResponse:
        try:
            response = await self.check_rate_limit(request, call)
        except errors.DomainError as error:
            return rate_limit_service_pb2.StreamCheckRateLimitResponse(error=status_of(error))
        return rate_limit_service_pb2.StreamCheckRateLimitResponse(check=response)

    async def _check_one(
        self, descriptor: rate_limit_pb2.RateLimitDescriptor, call: Call
    ) -> rate_limit_service_pb2.CheckRateLimitResponse:
        """Check one bucket, without what a batch needs."""
        ask = self._ask(descriptor, call)
        answer, degraded = await self._limiter.decide_one(ask)
        response = rate_limit_service_pb2.CheckRateLimitResponse()
        _write_one(response, descriptor.subject, ask.limit, answer, degraded=degraded)
        return response

    def _policies_for(self, call: Call) -> Policies:
        return self._limiter.policies if call.caller.is_admin else self._limiter.outside

    def _ask(self, descriptor: rate_limit_pb2.RateLimitDescriptor, call: Call) -> Ask:
        cost = descriptor.cost if descriptor.HasField("cost") else 1
        policies = self._policies_for(call)
        ask = self._limiter.resolve(descriptor.policy, descriptor.subject, cost, call.caller.name, policies)
        if cost > ask.limit.capacity and ask.limit.counted:
            raise _too_much(0, ask.limit)
        return ask

    def _asks(self, descriptors: Descriptors, call: Call) -> tuple[Asks, list[str]]:
        """Return what to ask, and the subjects. Neighbours of one limit and one cost are one run."""
        policies, caller = self._policies_for(call), call.caller.name
        limits = policies.without_overrides
        keys: list[str] = []
        runs: list[Run] = []
        subjects: list[str] = []
        limit, cost = NO_LIMIT, 1
        for each in descriptors:
            name, subject, asked = each.policy, each.subject, each.cost
            found = limits.get(name) or policies.policy(name).limit_for(subject, caller)
            # No cost is told apart from a cost of 0 only where it matters: asking costs as much as reading.
            if asked == 0 and not each.HasField("cost"):
                asked = 1
            if found is not limit or asked != cost:
                _add_run(limit, cost, subjects, keys, runs)
                limit, cost = found, asked
                if cost > limit.capacity and limit.counted:
                    raise _too_much(len(subjects), limit)
            subjects.append(subject)
        _add_run(limit, cost, subjects, keys, runs)
        return Asks(keys, runs), subjects


def _require_own(descriptors: Descriptors, policies: Policies, call: Call) -> None:
    """Raise errors.PermissionDenied if a caller without the scope of administration names an internal policy."""
    if call.caller.is_admin:
        return
    for each in descriptors:
        if policies.policy(each.policy).internal:
            message = f"{each.policy} limits calls of the server itself: its tokens need the scope {ADMIN}"
            raise errors.PermissionDenied("ACCESS_DENIED", message, {"policy": each.policy})


def _add_run(limit: Limit, cost: int, subjects: list[str], keys: list[str], runs: list[Run]) -> None:
    """Add those of the subjects that have no key yet."""
    start = len(keys)
    if start < len(subjects):
        keys += limit.keys_of(subjects[start:])
        runs.append(Run(limit, cost, len(subjects) - start))


def _request_id(
    request: rate_limit_service_pb2.CheckRateLimitRequest | rate_limit_service_pb2.RefundRateLimitRequest, call: Call
) -> RequestId | None:
    if not request.request_id:
        return None
    body = request.SerializeToString(deterministic=True)
    digest = hashlib.sha256(request.DESCRIPTOR.full_name.encode() + body).hexdigest()
    return RequestId(f"{call.caller.name}:{request.request_id}", digest[:32])


def _too_much(place: int, limit: Limit) -> errors.InvalidArgument:
    message = f"must be at most {limit.capacity}, the capacity of {limit.policy}"
    violation = errors.FieldViolation(f"descriptors[{place}].cost", "cost.capacity", message)
    metadata = {"policy": limit.policy, "capacity": str(limit.capacity)}
    return errors.InvalidArgument([violation], "COST_EXCEEDS_CAPACITY", metadata=metadata)


def _fill(results: Any, subjects: Sequence[str], decision: Decision) -> None:
    """Write one answer for each subject."""
    retry, remaining, reset = decision.answers.retry, decision.answers.remaining, decision.answers.reset
    start = 0
    for limit, _, count in decision.asks.runs:
        end = start + count
        if any(retry[start:end]):
            for place in range(start, end):
                _write(results.add(), subjects[place], limit, decision.answers[place])
        else:
            _write_passed(results, limit, subjects[start:end], remaining[start:end], reset[start:end])
        start = end


def _write_passed(
    results: Any, limit: Limit, subjects: Sequence[str], remaining: Sequence[int], reset: Sequence[int]
) -> None:
    """Write answers that are alike but for a few fields: copies of one message take half as long as new ones."""
    append = results.append
    result = rate_limit_pb2.RateLimitResult(policy=limit.policy, limit=limit.capacity, allowed=True)
    duration = result.reset_after
    for subject, left, full in zip(subjects, remaining, reset, strict=True):
        result.subject, result.remaining = subject, left
        duration.seconds, rest = divmod(full, MICROSECONDS)
        duration.nanos = rest * 1000
        append(result)


def _write_one(
    response: rate_limit_service_pb2.CheckRateLimitResponse,
    subject: str,
    limit: Limit,
    answer: Answer,
    *,
    degraded: bool,
) -> None:
    response.allowed, response.degraded = bool(answer.allowed or limit.shadow), degraded
    _write(response.results.add(), subject, limit, answer)


def _write(result: rate_limit_pb2.RateLimitResult, subject: str, limit: Limit, answer: Answer) -> None:
    allowed, remaining, retry, reset = answer
    result.policy, result.limit = limit.policy, limit.capacity
    result.subject, result.remaining = subject, remaining
    result.allowed, result.shadow_denied = bool(allowed or limit.shadow), bool(limit.shadow and not allowed)
    _write_duration(result.reset_after, reset)
    if retry > 0 and not limit.shadow:
        _write_duration(result.retry_after, retry)


def _write_duration(duration: Any, microseconds: int) -> None:
    duration.seconds, rest = divmod(microseconds, MICROSECONDS)  # written even if 0, which makes the duration present
    duration.nanos = rest * 1000


def _policy(policy: Policy) -> rate_limit_pb2.RateLimitPolicy:
    return rate_limit_pb2.RateLimitPolicy(
        name=policy.name,
        capacity=policy.limit.capacity,
        refill_per_second=policy.refill_per_second,
        shadow=policy.limit.shadow,
        outage_behavior=OUTAGES[policy.limit.outage],
    )
