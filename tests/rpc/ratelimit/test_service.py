"""RateLimitService through a real server."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from support.edge import failure_of
from support.limiters import Served
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2

ALL, EACH = rate_limit_pb2.CHECK_MODE_ALL, rate_limit_pb2.CHECK_MODE_EACH
TIMEOUT = 10


def descriptor(policy: str, subject: str, cost: int | None = None) -> rate_limit_pb2.RateLimitDescriptor:
    """Return a descriptor; without a cost it leaves the cost out."""
    return rate_limit_pb2.RateLimitDescriptor(policy=policy, subject=subject, cost=cost)


async def check(served: Served, *descriptors: rate_limit_pb2.RateLimitDescriptor, **fields: Any) -> Any:
    """Call CheckRateLimit."""
    request = rate_limit_service_pb2.CheckRateLimitRequest(descriptors=descriptors, **fields)
    return await served.client.rate_limit.CheckRateLimit(request, timeout=TIMEOUT)


async def peek(served: Served, *descriptors: rate_limit_pb2.RateLimitDescriptor, **fields: Any) -> Any:
    """Call PeekRateLimit."""
    request = rate_limit_service_pb2.PeekRateLimitRequest(descriptors=descriptors, **fields)
    return await served.client.rate_limit.PeekRateLimit(request, timeout=TIMEOUT)


async def refund(served: Served, *descriptors: rate_limit_pb2.RateLimitDescriptor, **fields: Any) -> Any:
    """Call RefundRateLimit."""
    request = rate_limit_service_pb2.RefundRateLimitRequest(descriptors=descriptors, **fields)
    return await served.client.rate_limit.RefundRateLimit(request, timeout=TIMEOUT)


async def test_check_tells_all_of_a_bucket(served: Served, subject: str) -> None:
    """An answer has the descriptor's names, the limit, what is left, and how long until full."""
    answer = await check(served, descriptor("match_request", subject))
    (result,) = answer.results
    assert (answer.allowed, answer.degraded) == (True, False)
    assert (result.policy, result.subject, result.allowed) == ("match_request", subject, True)
    assert (result.limit, result.remaining, result.reset_after.ToMicroseconds()) == (5, 4, 20_000_000)
    assert not result.HasField("retry_after")


async def test_denial_is_an_answer(served: Served, subject: str) -> None:
    """A denied check tells when the same cost could pass."""
    await check(served, descriptor("match_request", subject, 5))
    answer = await check(served, descriptor("match_request", subject, 2))
    assert not answer.allowed
    assert answer.results[0].remaining == 0
    assert 39 < answer.results[0].retry_after.ToMicroseconds() / 1e6 <= 40


async def test_each_and_all(served: Served, subject: str) -> None:
    """EACH charges what allows; ALL charges nothing where one denies. EACH is what unspecified means."""
    both = [descriptor("email_send", subject, 3), descriptor("auth_endpoint", subject, 4)]
    assert [result.remaining for result in (await check(served, *both, mode=ALL)).results] == [0, 6]
    refused = await check(served, *both, mode=ALL)
    assert [(result.allowed, result.remaining) for result in refused.results] == [(False, 0), (True, 6)]
    for mode, left in ((EACH, 2), (rate_limit_pb2.CHECK_MODE_UNSPECIFIED, 2)):
        answer = await check(served, *both, mode=mode)
        assert (answer.allowed, answer.results[1].remaining) == (False, left)


async def test_peek_charges_nothing(served: Served, subject: str) -> None:
    """A peek answers as a check would, says what is really left, and changes nothing."""
    await check(served, descriptor("email_send", subject, 2))
    for _ in range(3):
        fits, too_much = (
            await peek(served, descriptor("email_send", subject), descriptor("email_send", subject, 2))
        ).results
        assert (fits.allowed, fits.remaining, too_much.allowed, too_much.remaining) == (True, 1, False, 1)
        assert 99 < too_much.retry_after.ToMicroseconds() / 1e6 <= 200
    assert (await check(served, descriptor("email_send", subject, 0))).results[0].remaining == 1


async def test_reset_fills_a_bucket(served: Served, subject: str) -> None:
    """After a reset the denied call passes at once."""
    await check(served, descriptor("email_send", subject, 3))
    assert not (await check(served, descriptor("email_send", subject))).allowed
    request = rate_limit_service_pb2.ResetRateLimitRequest(policy="email_send", subject=subject)
    result = (await served.client.rate_limit.ResetRateLimit(request, timeout=TIMEOUT)).result
    assert (result.allowed, result.remaining, result.limit) == (True, 3, 3)
    assert (await check(served, descriptor("email_send", subject))).allowed


async def test_refund_gives_back_once(served: Served, subject: str) -> None:
    """Tokens come back, never above the capacity, and a repeated refund gives them back once."""
    await check(served, descriptor("auth_endpoint", subject, 8))
    request_id = str(uuid.uuid4())
    for _ in range(3):
        answer = await refund(served, descriptor("auth_endpoint", subject, 2), request_id=request_id)
        assert (answer.results[0].allowed, answer.results[0].remaining) == (True, 4)
    assert (await refund(served, descriptor("auth_endpoint", subject, 10))).results[0].remaining == 10


async def test_request_id(served: Served, subject: str) -> None:
    """A repeated check gets the first answer and spends once; the same id with another body is refused."""
    request_id = str(uuid.uuid4())
    asked = [descriptor("auth_endpoint", subject, 4), descriptor("public_api", subject)]
    first = await check(served, *asked, request_id=request_id)
    assert await check(served, *asked, request_id=request_id) == first
    assert (await peek(served, descriptor("auth_endpoint", subject))).results[0].remaining == 6
    failure = await failure_of(check(served, asked[0], request_id=request_id))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_list_policies(served: Served) -> None:
    """The built-in policies, the coach's budget, the backends' and the file's are listed by name."""
    answer = await served.client.rate_limit.ListPolicies(rate_limit_service_pb2.ListPoliciesRequest(), timeout=TIMEOUT)
    assert [(policy.name, policy.capacity, policy.refill_per_second) for policy in answer.policies] == [
        ("auth_endpoint", 10, 0.1),
        ("backend_api", 2000, 1000.0),
        ("candidate_pages", 200, pytest.approx(200 / 86_400)),
        ("challenge_submit", 20, 0.2),
        ("coaching_tokens", 100_000, pytest.approx(100_000 / 86_400)),
        ("email_send", 3, 0.01),
        ("match_request", 5, 0.05),
        ("profile_relocation", 3, pytest.approx(3 / 86_400)),
        ("public_api", 100, 1.0),
        ("returning", 1, 4.0),
    ]
    assert answer.version
    assert {policy.outage_behavior for policy in answer.policies} == {rate_limit_pb2.OUTAGE_BEHAVIOR_LOCAL}


async def test_unknown_policy(served: Served, subject: str) -> None:
    """A policy that does not exist is an error, and nothing else of the call is charged."""
    asked = [descriptor("public_api", subject), descriptor("nosuch", subject)]
    failure = await failure_of(check(served, *asked))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "RATE_LIMIT_POLICY_NOT_FOUND")
    assert failure.metadata == {"policy": "nosuch"}
    assert (await peek(served, asked[0])).results[0].remaining == 100


async def test_cost_above_the_capacity(served: Served, subject: str) -> None:
    """A cost that can never pass is an error that names the field, and nothing else of the call is charged."""
    asked = [descriptor("public_api", subject), descriptor("email_send", subject, 4)]
    for call in (check, peek, refund):
        failure = await failure_of(call(served, *asked))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "COST_EXCEEDS_CAPACITY")
        assert list(failure.violations) == ["descriptors[1].cost"]
    assert (await peek(served, asked[0])).results[0].remaining == 100


async def test_a_thousand_descriptors(served: Served, subject: str) -> None:
    """A thousand descriptors are answered in one round trip and in their order; one more is refused."""
    asked = [descriptor("public_api", f"{subject}/{number}", number % 3) for number in range(1000)]
    before = served.sample("ratelimit_batch_calls_count")
    answer = await check(served, *asked)
    assert served.sample("ratelimit_batch_calls_count") == before + 1
    assert [result.subject for result in answer.results] == [each.subject for each in asked]
    assert [result.remaining for result in answer.results] == [100 - number % 3 for number in range(1000)]
    failure = await failure_of(check(served, *asked, asked[0]))
    assert list(failure.violations) == ["descriptors"]


async def test_nobody_gets_more_than_the_capacity(served: Served, subject: str) -> None:
    """Of 400 checks by 200 callers at once on a bucket of 100, exactly 100 pass."""
    answers = await asyncio.gather(*(check(served, descriptor("public_api", subject)) for _ in range(400)))
    passed = sum(answer.allowed for answer in answers)
    assert passed == 100


def stream_request(*descriptors: rate_limit_pb2.RateLimitDescriptor, **fields: Any) -> Any:
    """Return one check of a stream."""
    request = rate_limit_service_pb2.CheckRateLimitRequest(descriptors=descriptors, **fields)
    return rate_limit_service_pb2.StreamCheckRateLimitRequest(check=request)


async def test_stream_answers_in_order(served: Served, subject: str) -> None:
    """Checks of one bucket are charged and answered in the order sent, a thousand as well as one."""
    sent = [stream_request(descriptor("public_api", subject)) for _ in range(1000)]
    call = served.client.rate_limit.StreamCheckRateLimit(iter(sent), timeout=TIMEOUT)
    answers = [answer.check async for answer in call]
    assert [answer.allowed for answer in answers] == [True] * 100 + [False] * 900
    assert [answer.results[0].remaining for answer in answers[:100]] == list(range(99, -1, -1))


async def test_stream_goes_on_after_an_error(served: Served, subject: str) -> None:
    """A check that cannot be answered is answered with its error, in its place."""
    sent = [
        stream_request(descriptor("public_api", subject)),
        stream_request(descriptor("nosuch", subject)),
        stream_request(descriptor("public_api", subject)),
    ]
    call = served.client.rate_limit.StreamCheckRateLimit(iter(sent), timeout=TIMEOUT)
    answers = [answer async for answer in call]
    assert [answer.WhichOneof("outcome") for answer in answers] == ["check", "error", "check"]
    assert answers[1].error.code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_stream_of_all_kinds_of_checks(served: Served, subject: str) -> None:
    """Single checks, batches, repeated requests and wrong ones are charged and answered in the order sent."""
    repeated = stream_request(descriptor("auth_endpoint", subject, 2), request_id=str(uuid.uuid4()))
    sent = [
        stream_request(descriptor("auth_endpoint", subject)),
        stream_request(descriptor("auth_endpoint", subject), descriptor("auth_endpoint", subject)),
        stream_request(descriptor("auth_endpoint", subject, 11)),
        repeated,
        repeated,
        stream_request(descriptor("auth_endpoint", subject, 6), mode=ALL),
        stream_request(descriptor("auth_endpoint", subject, 5)),
    ]
    call = served.client.rate_limit.StreamCheckRateLimit(iter(sent), timeout=TIMEOUT)
    answers = [answer async for answer in call]
    assert answers[2].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    left = [[result.remaining for result in answer.check.results] for answer in answers]
    assert left == [[9], [8, 7], [], [5], [5], [5], [0]]
    assert [answer.check.allowed for answer in answers] == [True, True, False, True, True, False, True]


async def test_stream_of_a_denied_caller_costs_redis_nothing(served: Served, subject: str) -> None:
    """Once denied, the rest of a stream is denied from memory."""
    await check(served, descriptor("email_send", subject, 3))
    assert not (await check(served, descriptor("email_send", subject))).allowed
    before = served.sample("ratelimit_batch_calls_count")
    sent = [stream_request(descriptor("email_send", subject)) for _ in range(50)]
    call = served.client.rate_limit.StreamCheckRateLimit(iter(sent), timeout=TIMEOUT)
    assert [answer.check.allowed async for answer in call] == [False] * 50
    assert served.sample("ratelimit_batch_calls_count") == before


async def test_stream_is_a_conversation(served: Served, subject: str) -> None:
    """Each check is answered while the caller keeps the stream open, and the caller may leave at any time."""
    call = served.client.rate_limit.StreamCheckRateLimit(timeout=TIMEOUT)
    for left in (99, 98, 97):
        await call.write(stream_request(descriptor("public_api", subject)))
        assert (await call.read()).check.results[0].remaining == left
    call.cancel()
    again = served.client.rate_limit.StreamCheckRateLimit(timeout=TIMEOUT)
    await again.write(stream_request(descriptor("public_api", subject)))
    assert (await again.read()).check.allowed
    await again.done_writing()
    assert await again.read() is grpc.aio.EOF


async def test_stream_with_a_broken_rule_ends(served: Served, subject: str) -> None:
    """What came before a request that breaks a rule of its proto is answered; then the stream ends."""

    async def requests() -> AsyncIterator[Any]:
        yield stream_request(descriptor("public_api", subject))
        yield stream_request()

    call = served.client.rate_limit.StreamCheckRateLimit(requests(), timeout=TIMEOUT)
    assert (await call.read()).check.allowed
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
