"""Envoy's protocol through a real server, as a proxy speaks it."""

from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import UInt64Value

from support.edge import failure_of
from support.limiters import Served
from wingmanmatch.envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from wingmanmatch.envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from wingmanmatch.envoy.type.v3 import ratelimit_unit_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch_server.ratelimit.envoy import told
from wingmanmatch_server.ratelimit.policies import built_in

OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT
TIMEOUT = 10


def descriptor(*entries: tuple[str, str], **fields: Any) -> ratelimit_pb2.RateLimitDescriptor:
    """Return a descriptor of some entries."""
    pairs = [ratelimit_pb2.RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries]
    return ratelimit_pb2.RateLimitDescriptor(entries=pairs, **fields)


async def should_limit(served: Served, *descriptors: Any, **fields: Any) -> Any:
    """Call ShouldRateLimit."""
    request = rls_pb2.RateLimitRequest(domain="test", descriptors=descriptors, **fields)
    return await rls_pb2_grpc.RateLimitServiceStub(served.channel).ShouldRateLimit(request, timeout=TIMEOUT)


async def test_over_limit_is_an_answer(served: Served, subject: str) -> None:
    """Three pass and the fourth is over the limit, with the wait where Envoy looks for it."""
    asked = descriptor(("policy", "email_send"), ("remote_address", subject))
    answers = [await should_limit(served, asked) for _ in range(4)]
    assert [answer.overall_code for answer in answers] == [OK, OK, OK, OVER_LIMIT]
    status = answers[3].statuses[0]
    assert (status.code, status.limit_remaining, status.current_limit.name) == (OVER_LIMIT, 0, "email_send")
    assert 99 < status.duration_until_reset.ToMicroseconds() / 1e6 <= 100
    headers = {header.key: header.value for header in answers[3].response_headers_to_add}
    assert headers["ratelimit-policy"] == '"email_send";q=3;w=300'
    assert headers["retry-after"] in ("99", "100")


async def test_the_buckets_are_ours(served: Served, subject: str) -> None:
    """The entries beside the policy are the subject, percent-encoded, one as well as several."""
    await should_limit(served, descriptor(("policy", "email_send"), ("remote_address", subject)))
    await should_limit(served, descriptor(("policy", "auth_endpoint"), ("path", "/a&b"), ("user", subject)))
    asked = [
        rate_limit_pb2.RateLimitDescriptor(policy="email_send", subject=f"remote_address={subject}", cost=0),
        rate_limit_pb2.RateLimitDescriptor(policy="auth_endpoint", subject=f"path=%2Fa%26b&user={subject}", cost=0),
    ]
    request = rate_limit_service_pb2.PeekRateLimitRequest(descriptors=asked)
    results = (await served.client.rate_limit.PeekRateLimit(request, timeout=TIMEOUT)).results
    assert [result.remaining for result in results] == [2, 9]


async def test_a_denied_request_costs_nothing(served: Served, subject: str) -> None:
    """A user over a limit does not use up one shared with others."""
    own = descriptor(("policy", "email_send"), ("user", subject))
    shared = descriptor(("policy", "public_api"), ("site", f"site {subject}"))
    answers = [await should_limit(served, own, shared) for _ in range(10)]
    assert [answer.overall_code for answer in answers] == [OK] * 3 + [OVER_LIMIT] * 7
    assert answers[-1].statuses[1].code == OK
    assert answers[-1].statuses[1].limit_remaining in (97, 98)


async def test_descriptors_that_name_no_policy_pass(served: Served, subject: str) -> None:
    """They are answered OK, in their place, without a limit."""
    answer = await should_limit(
        served,
        descriptor(("user", subject)),
        descriptor(("policy", "email_send"), ("user", subject)),
        descriptor(("policy", "nosuch"), ("user", subject)),
    )
    assert [status.code for status in answer.statuses] == [OK, OK, OK]
    assert [status.HasField("current_limit") for status in answer.statuses] == [False, True, False]


@pytest.mark.parametrize(
    ("request_cost", "own_cost", "left"), [(0, None, 9), (4, None, 6), (4, 2, 8), (4, 0, 10), (11, None, 10)]
)
async def test_costs(served: Served, subject: str, request_cost: int, own_cost: int | None, left: int) -> None:
    """A descriptor's cost comes before the request's; 0 there means 1, here only to ask; too much never passes."""
    own = None if own_cost is None else UInt64Value(value=own_cost)
    asked = descriptor(("policy", "auth_endpoint"), ("user", subject), hits_addend=own)
    answer = await should_limit(served, asked, hits_addend=request_cost)
    assert answer.statuses[0].limit_remaining == left
    assert answer.overall_code == (OVER_LIMIT if request_cost > 10 else OK)


async def test_refunds(served: Served, subject: str) -> None:
    """Negative hits put tokens back."""
    asked = descriptor(("policy", "auth_endpoint"), ("user", subject))
    await should_limit(served, asked, hits_addend=8)
    back = descriptor(("policy", "auth_endpoint"), ("user", subject), is_negative_hits=True)
    answer = await should_limit(served, back, hits_addend=5)
    assert (answer.overall_code, answer.statuses[0].limit_remaining) == (OK, 7)


async def test_a_request_without_domain_or_descriptors_is_refused(served: Served, subject: str) -> None:
    """As Envoy's own service does, with INVALID_ARGUMENT."""
    stub = rls_pb2_grpc.RateLimitServiceStub(served.channel)
    asked = [descriptor(("policy", "email_send"), ("user", subject))]
    for request in (rls_pb2.RateLimitRequest(descriptors=asked), rls_pb2.RateLimitRequest(domain="test")):
        failure = await failure_of(stub.ShouldRateLimit(request, timeout=TIMEOUT))
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT


async def peeked(served: Served, policy: str, subject: str) -> int:
    """Return what is left in a bucket."""
    request = rate_limit_service_pb2.PeekRateLimitRequest(
        descriptors=[rate_limit_pb2.RateLimitDescriptor(policy=policy, subject=subject)]
    )
    return int((await served.client.rate_limit.PeekRateLimit(request, timeout=TIMEOUT)).results[0].remaining)


async def test_an_address_is_one_subject_however_a_proxy_writes_it(served: Served, subject: str) -> None:
    """Addresses of one network of 64 bits share a bucket, and an IPv4 address is one in IPv6's clothes too."""
    network = f"2001:db8:{subject[:4]}:{subject[4:8]}"
    written = [f"{network}::1", f"{network.upper()}:0:0:0:2", f"{network}:ffff:0:1:1"]
    answers = [
        await should_limit(served, descriptor(("policy", "match_request"), ("remote_address", each)))
        for each in written
    ]
    assert [answer.statuses[0].limit_remaining for answer in answers] == [4, 3, 2]
    for each in ("203.0.113.7", "::ffff:203.0.113.7"):
        answer = await should_limit(
            served, descriptor(("policy", "match_request"), ("site", subject), ("remote_address", each))
        )
    assert answer.statuses[0].limit_remaining == 3


async def test_requests_of_a_domain_share_a_bucket_where_entries_name_none(served: Served, subject: str) -> None:
    """It is not the bucket of any entry."""
    request = rls_pb2.RateLimitRequest(domain=f"a={subject}", descriptors=[descriptor(("policy", "match_request"))])
    stub = rls_pb2_grpc.RateLimitServiceStub(served.channel)
    assert (await stub.ShouldRateLimit(request, timeout=TIMEOUT)).statuses[0].limit_remaining == 4
    answer = await should_limit(served, descriptor(("policy", "match_request"), ("a", subject)))
    assert answer.statuses[0].limit_remaining == 4


@pytest.mark.parametrize(
    ("requests", "unit", "left", "seconds"),
    [
        (2, ratelimit_unit_pb2.SECOND, 1, 0.5),
        (7, ratelimit_unit_pb2.MINUTE, 6, 60 / 7),
        (100, ratelimit_unit_pb2.HOUR, 99, 36),
        (1, ratelimit_unit_pb2.DAY, 0, 86_400),
        (4, ratelimit_unit_pb2.WEEK, 3, 151_200),
        (30, ratelimit_unit_pb2.MONTH, 29, 86_400),
        (365, ratelimit_unit_pb2.YEAR, 364, 86_400),
        (2**32 - 1, ratelimit_unit_pb2.SECOND, 2**31 - 2, 0.000001),
    ],
)
async def test_a_limit_that_comes_along_is_obeyed(
    served: Served, subject: str, requests: int, unit: Any, left: int, seconds: float
) -> None:
    """A descriptor's own limit takes the place of the policy's capacity and rate."""
    limit = ratelimit_pb2.RateLimitDescriptor.RateLimitOverride(requests_per_unit=requests, unit=unit)
    asked = descriptor(("policy", "email_send"), ("user", subject), limit=limit)
    status = (await should_limit(served, asked)).statuses[0]
    assert (status.code, status.limit_remaining) == (OK, left)
    assert status.duration_until_reset.ToMicroseconds() / 1e6 == pytest.approx(seconds, abs=2e-6)


async def test_a_limit_that_comes_along_denies(served: Served, subject: str) -> None:
    """Two a day are two, none are none, and what they took is taken from the policy's own bucket as well."""
    limit = ratelimit_pb2.RateLimitDescriptor.RateLimitOverride(requests_per_unit=2, unit=ratelimit_unit_pb2.DAY)
    asked = descriptor(("policy", "public_api"), ("user", subject), limit=limit)
    answers = [await should_limit(served, asked) for _ in range(3)]
    assert [answer.overall_code for answer in answers] == [OK, OK, OVER_LIMIT]
    limit.requests_per_unit = 0
    none = descriptor(("policy", "public_api"), ("user", subject[::-1]), limit=limit)
    assert (await should_limit(served, none)).overall_code == OVER_LIMIT
    assert await peeked(served, "public_api", f"user={subject}") < 100


async def test_a_limit_without_a_unit_is_refused(served: Served, subject: str) -> None:
    """The error names the field."""
    limit = ratelimit_pb2.RateLimitDescriptor.RateLimitOverride(requests_per_unit=2)
    failure = await failure_of(should_limit(served, descriptor(("policy", "email_send"), ("a", subject), limit=limit)))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(failure.violations) == ["descriptors[0].limit.unit"]


def test_rates_as_proxies_are_told() -> None:
    """Each policy's rate is whole in the unit told."""
    unit = rls_pb2.RateLimitResponse.RateLimit.Unit
    rates = {policy.name: told(policy.limit) for policy in built_in()}
    assert {name: (rate.requests_per_unit, unit.Name(rate.unit)) for name, rate in rates.items()} == {
        "public_api": (1, "SECOND"),
        "auth_endpoint": (6, "MINUTE"),
        "match_request": (3, "MINUTE"),
        "email_send": (36, "HOUR"),
        "challenge_submit": (12, "MINUTE"),
        "profile_relocation": (3, "DAY"),
        "candidate_pages": (200, "DAY"),
    }


async def test_one_bucket_under_two_limits_at_once(served: Served, subject: str) -> None:
    """What is used of a bucket counts in tokens, though each descriptor brings another limit for it."""
    entries = (("policy", "auth_endpoint"), ("user", subject))
    units = (ratelimit_unit_pb2.YEAR, ratelimit_unit_pb2.HOUR)
    limits = [
        ratelimit_pb2.RateLimitDescriptor.RateLimitOverride(requests_per_unit=number, unit=unit)
        for number, unit in zip((3, 18), units, strict=True)
    ]
    asked = [descriptor(*entries, limit=limit) for limit in limits]
    first = await should_limit(served, *asked)
    second = await should_limit(served, *asked)
    third = await should_limit(served, *asked)
    assert [answer.overall_code for answer in (first, second, third)] == [OK, OK, OVER_LIMIT]
    assert [status.limit_remaining for status in first.statuses] == [2, 16]
    assert [status.limit_remaining for status in second.statuses] == [0, 14]
    assert third.statuses[0].limit_remaining == 0
