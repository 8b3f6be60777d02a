"""Envoy's rate limit protocol on the same buckets.

A descriptor's entry `policy` names the policy, and its other entries the subject: `key=value&key=value`,
percent-encoded, so that two descriptors have one bucket only if they have the same entries. No subject of the server's
own looks like it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote_plus, urlencode

from wingmanmatch.envoy.config.core.v3 import base_pb2
from wingmanmatch.envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from wingmanmatch.envoy.service.ratelimit.v3 import rls_pb2
from wingmanmatch.envoy.type.v3 import ratelimit_unit_pb2
from wingmanmatch_server.drivers.redis import ScriptFailed, unavailable
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.ip_addresses import address_subject
from wingmanmatch_server.ratelimit.batch import Answer, Ask
from wingmanmatch_server.ratelimit.limiter import Limiter
from wingmanmatch_server.ratelimit.policies import MICROSECONDS, Limit

POLICY_KEY, ADDRESS_KEY = "policy", "remote_address"
UINT32_MAX = 2**32 - 1
LARGEST_COST = 2**31 - 1
UNITS = (
    (1, rls_pb2.RateLimitResponse.RateLimit.SECOND),
    (60, rls_pb2.RateLimitResponse.RateLimit.MINUTE),
    (3600, rls_pb2.RateLimitResponse.RateLimit.HOUR),
    (86_400, rls_pb2.RateLimitResponse.RateLimit.DAY),
)
SECONDS = {
    ratelimit_unit_pb2.SECOND: 1,
    ratelimit_unit_pb2.MINUTE: 60,
    ratelimit_unit_pb2.HOUR: 3600,
    ratelimit_unit_pb2.DAY: 86_400,
    ratelimit_unit_pb2.WEEK: 604_800,
    ratelimit_unit_pb2.MONTH: 2_592_000,
    ratelimit_unit_pb2.YEAR: 31_536_000,
}


class EnvoyRateLimitService:
    """`envoy.service.ratelimit.v3.RateLimitService`. A descriptor that names no policy of ours passes."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def should_rate_limit(self, request: rls_pb2.RateLimitRequest, call: Call) -> rls_pb2.RateLimitResponse:
        """Ask the buckets of all descriptors: where one denies, none is charged. Tokens put back are, in any case."""
        asks = [self._ask(descriptor, request, call) for descriptor in request.descriptors]
        answers: dict[int, Answer] = {}
        spends = [place for place, ask in enumerate(asks) if ask is not None and ask.cost >= 0]
        refunds = [place for place, ask in enumerate(asks) if ask is not None and ask.cost < 0]
        try:
            if spends:
                decision = await self._limiter.decide_exactly([_at(asks, each) for each in spends], all_or_nothing=True)
                answers |= zip(spends, decision.answers, strict=True)
            if refunds:
                back = [_at(asks, each)._replace(cost=-_at(asks, each).cost) for each in refunds]
                answers |= zip(refunds, (await self._limiter.refund(back)).answers, strict=True)
        except ScriptFailed as error:
            raise unavailable() from error
        return _response(asks, answers)

    def _ask(
        self, descriptor: ratelimit_pb2.RateLimitDescriptor, request: rls_pb2.RateLimitRequest, call: Call
    ) -> Ask | None:
        names = [entry.value for entry in descriptor.entries if entry.key == POLICY_KEY]
        policies = self._limiter.policies if call.caller.is_admin else self._limiter.outside
        if not names or names[0] not in policies.by_name:
            return None
        subject = _subject(descriptor, request.domain)
        cost = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else request.hits_addend or 1
        cost = min(cost, LARGEST_COST)
        cost = -cost if descriptor.is_negative_hits else cost
        ask = self._limiter.resolve(names[0], subject, cost, call.caller.name, policies)
        return ask._replace(limit=_given(descriptor.limit, ask.limit)) if descriptor.HasField("limit") else ask


def _subject(descriptor: ratelimit_pb2.RateLimitDescriptor, domain: str) -> str:
    """Return whose bucket it is; without entries beside the policy, that of all requests of the domain."""
    entries = [(entry.key, entry.value) for entry in descriptor.entries if entry.key != POLICY_KEY]
    named = [(key, address_subject(value) if key == ADDRESS_KEY else value) for key, value in entries]
    return urlencode(named) or f"={quote_plus(domain)}"  # no entry's key is empty


def _given(override: ratelimit_pb2.RateLimitDescriptor.RateLimitOverride, limit: Limit) -> Limit:
    """Return the limit of a descriptor that brings one along; the policy keeps its say in everything else."""
    requests = min(override.requests_per_unit, LARGEST_COST)
    interval = max(round(SECONDS[override.unit] * MICROSECONDS / requests), 1) if requests else limit.interval or 1
    return replace(limit, capacity=requests, interval=interval)


def _at(asks: Sequence[Ask | None], place: int) -> Ask:
    ask = asks[place]
    assert ask is not None
    return ask


def _response(asks: Sequence[Ask | None], answers: dict[int, Answer]) -> rls_pb2.RateLimitResponse:
    response = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OK)
    for place, ask in enumerate(asks):
        status = response.statuses.add(code=rls_pb2.RateLimitResponse.OK)
        if ask is None:
            continue
        answer = answers[place]
        _write(status, ask.limit, answer)
        if not answer.allowed and not ask.limit.shadow:
            status.code = response.overall_code = rls_pb2.RateLimitResponse.OVER_LIMIT
    tightest = _tightest(asks, answers)
    if tightest is not None:
        response.response_headers_to_add.extend(_headers(*tightest))
    return response


def _write(status: rls_pb2.RateLimitResponse.DescriptorStatus, limit: Limit, answer: Answer) -> None:
    if limit.unlimited:
        status.limit_remaining = UINT32_MAX
        return
    status.current_limit.CopyFrom(told(limit))
    status.limit_remaining = answer.remaining
    status.duration_until_reset.FromMicroseconds(answer.reset if answer.allowed else max(answer.retry, 0))


def told(limit: Limit) -> rls_pb2.RateLimitResponse.RateLimit:
    """Return the limit's rate as proxies tell it: per the shortest span that makes it a whole number."""
    interval = limit.interval
    seconds, unit = next((each for each in UNITS if each[0] * MICROSECONDS % interval == 0), UNITS[-1])
    per_unit = max(seconds * MICROSECONDS // interval, 1)
    return rls_pb2.RateLimitResponse.RateLimit(name=limit.policy, requests_per_unit=per_unit, unit=unit)


def _tightest(asks: Sequence[Ask | None], answers: dict[int, Answer]) -> tuple[Ask, Answer] | None:
    """Return the limit that a client should know of: the one it must wait for longest, or has least left of."""
    enforced = [
        (ask, answers[place])
        for place, ask in enumerate(asks)
        if ask is not None and not (ask.limit.unlimited or ask.limit.shadow)
    ]
    return min(enforced, key=lambda pair: (pair[1].allowed, -pair[1].retry, pair[1].remaining), default=None)


def _headers(ask: Ask, answer: Answer) -> list[base_pb2.HeaderValue]:
    limit = ask.limit
    window = math.ceil(limit.capacity * limit.interval / MICROSECONDS)
    seconds = math.ceil((answer.reset if answer.allowed else answer.retry) / MICROSECONDS)
    headers = {
        "ratelimit-policy": f'"{limit.policy}";q={limit.capacity};w={window}',
        "ratelimit": f'"{limit.policy}";r={answer.remaining}' + (f";t={seconds}" if seconds >= 0 else ""),
    }
    if not answer.allowed and seconds > 0:
        headers["retry-after"] = str(seconds)
    return [base_pb2.HeaderValue(key=key, value=value) for key, value in headers.items()]
