"""RateLimitService and the protocol of proxies, used on the buckets by which the server itself limits calls."""

from typing import Any

import pytest

from support.credentials import ADMIN_KEY, KEY, bearer, user_token
from support.edge import failure_of
from support.target import TIMEOUT, Target
from wingmanmatch.envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from wingmanmatch.envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2

GET_PROFILE = "matching.v1.MatchingService.GetProfile"
FORWARDED = "x-forwarded-for"
INTERNAL = ("auth_endpoint", "backend_api", "challenge_submit", "coaching_tokens", "email_send", "match_request")


def descriptor(policy: str, subject: str, cost: int = 1) -> rate_limit_pb2.RateLimitDescriptor:
    """Return a descriptor."""
    return rate_limit_pb2.RateLimitDescriptor(policy=policy, subject=subject, cost=cost)


async def check(target: Target, credential: str, *descriptors: rate_limit_pb2.RateLimitDescriptor) -> Any:
    """Call CheckRateLimit."""
    request: Any = rate_limit_service_pb2.CheckRateLimitRequest(descriptors=descriptors)
    return await target.limits.CheckRateLimit(request, metadata=bearer(credential), timeout=TIMEOUT)


async def refund(target: Target, credential: str, *descriptors: rate_limit_pb2.RateLimitDescriptor) -> Any:
    """Call RefundRateLimit."""
    request: Any = rate_limit_service_pb2.RefundRateLimitRequest(descriptors=descriptors)
    return await target.limits.RefundRateLimit(request, metadata=bearer(credential), timeout=TIMEOUT)


async def reset(target: Target, credential: str, policy: str, subject: str) -> Any:
    """Call ResetRateLimit."""
    request: Any = rate_limit_service_pb2.ResetRateLimitRequest(policy=policy, subject=subject)
    return await target.limits.ResetRateLimit(request, metadata=bearer(credential), timeout=TIMEOUT)


async def should_limit(target: Target, entries: list[tuple[str, str]], hits: int = 1, *, back: bool = False) -> Any:
    """Call ShouldRateLimit."""
    pairs = [ratelimit_pb2.RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries]
    asked = ratelimit_pb2.RateLimitDescriptor(entries=pairs, is_negative_hits=back)
    request: Any = rls_pb2.RateLimitRequest(domain="attack", descriptors=[asked], hits_addend=hits)
    stub = rls_pb2_grpc.RateLimitServiceStub(target.channel)
    return await stub.ShouldRateLimit(request, metadata=bearer(KEY), timeout=TIMEOUT)


async def test_a_check_spends_nobodys_calls(target: Target, victim: str) -> None:
    """A backend that empties `public_api` of a user's id has emptied a bucket of its own kind."""
    assert (await check(target, KEY, descriptor("public_api", victim, 100))).allowed
    assert not (await check(target, KEY, descriptor("public_api", victim))).allowed
    assert not (await check(target, KEY, descriptor("search", victim), descriptor("public_api", victim))).allowed
    assert await target.call(GET_PROFILE, victim, user_token(victim)) == "PROFILE_NOT_FOUND"


async def test_a_stream_of_checks_spends_nobodys_calls(target: Target, victim: str) -> None:
    """The same over StreamCheckRateLimit."""
    sent = [rate_limit_service_pb2.CheckRateLimitRequest(descriptors=[descriptor("match_request", victim, 5)])]
    stream = (rate_limit_service_pb2.StreamCheckRateLimitRequest(check=each) for each in sent)
    call: Any = target.limits.StreamCheckRateLimit(stream, metadata=bearer(KEY), timeout=TIMEOUT)
    assert [answer.check.allowed async for answer in call] == [True]
    assert await target.left("match_request", victim) == 5


async def test_a_proxy_spends_nobodys_attempts(target: Target, address: str) -> None:
    """A proxy's bucket of an address is not the one to which failed attempts from there are charged."""
    answer = await should_limit(target, [("policy", "auth_endpoint"), ("remote_address", address)], 10)
    assert answer.statuses[0].limit_remaining == 0
    assert await target.left("auth_endpoint", address) == 10
    assert await target.guess((FORWARDED, address)) == "CREDENTIAL_INVALID"


async def test_nobody_refills_the_attempts_of_an_address(target: Target, address: str) -> None:
    """Who guesses keys, and has a key without the scope of administration, gets no more guesses by it."""
    for _ in range(10):
        await target.guess((FORWARDED, address))
    failure = await failure_of(refund(target, KEY, descriptor("auth_endpoint", address, 10)))
    assert (failure.reason, failure.metadata) == ("ACCESS_DENIED", {"policy": "auth_endpoint"})
    assert (await failure_of(reset(target, KEY, "auth_endpoint", address))).reason == "ACCESS_DENIED"
    await should_limit(target, [("policy", "auth_endpoint"), ("remote_address", address)], 10, back=True)
    assert await target.guess((FORWARDED, address)) == "RATE_LIMITED"


@pytest.mark.parametrize("policy", [*INTERNAL, "public_api"])
async def test_nobody_puts_back_what_the_server_charges(target: Target, policy: str, victim: str) -> None:
    """Tokens of internal policies need the scope of administration, in a batch too; nothing else is put back."""
    await check(target, KEY, descriptor("search", victim, 3))
    asked = [descriptor("search", victim, 3), descriptor(policy, victim)]
    assert (await failure_of(refund(target, KEY, *asked))).reason == "ACCESS_DENIED"
    assert await target.left("search", victim) == 2


async def test_nobody_sees_how_much_somebody_calls(target: Target, victim: str) -> None:
    """What a user has left is shown to administrators."""
    for _ in range(3):
        await target.call(GET_PROFILE, victim, user_token(victim))
    assert await target.left("public_api", victim, KEY) == 100
    assert await target.left("public_api", victim, ADMIN_KEY) == 97


async def test_administrators_help_who_is_locked_out(target: Target, victim: str) -> None:
    """They may spend, put back and fill the server's own buckets."""
    token = user_token(victim)
    assert (await check(target, ADMIN_KEY, descriptor("public_api", victim, 100))).allowed
    assert await target.call(GET_PROFILE, victim, token) == "RATE_LIMITED"
    await refund(target, ADMIN_KEY, descriptor("public_api", victim, 2))
    assert await target.call(GET_PROFILE, victim, token) == "PROFILE_NOT_FOUND"
    await reset(target, ADMIN_KEY, "public_api", victim)
    assert await target.left("public_api", victim) == 100


async def test_a_policy_of_ones_own_is_ones_own(target: Target, victim: str) -> None:
    """A policy that the file adds is checked, peeked into and refunded without the scope of administration."""
    await check(target, KEY, descriptor("search", victim, 4))
    assert (await refund(target, KEY, descriptor("search", victim, 2))).results[0].remaining == 3
    assert await target.left("search", victim, KEY) == 3
