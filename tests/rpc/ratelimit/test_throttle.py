"""The limits of the API itself, through a real server."""

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from support.credentials import KEY, SETTINGS, bearer
from support.edge import Failure, failure_of
from support.limiters import Served, serving_limits
from support.requests import join_pair
from wingmanmatch.matching.v1 import matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

TIMEOUT = 10


async def ask_match(served: Served, user: str) -> Failure:
    """Ask for a match where there is nobody to be found."""
    request = matching_service_pb2.RequestMatchRequest(user_id=user)
    return await failure_of(served.client.matching.RequestMatch(request, timeout=TIMEOUT))


async def test_a_user_has_the_policys_bucket(served: Served, subject: str) -> None:
    """Five requests get through to the rules, the sixth does not; another user's do."""
    reasons = [(await ask_match(served, subject)).reason for _ in range(6)]
    assert reasons == ["PROFILE_NOT_FOUND"] * 5 + ["RATE_LIMITED"]
    assert (await ask_match(served, subject.upper())).reason == "RATE_LIMITED"
    assert (await ask_match(served, subject[::-1])).reason != "RATE_LIMITED"


async def test_the_service_sees_the_same_bucket(served: Served, subject: str) -> None:
    """What a user's calls took is what PeekRateLimit shows under the user's id."""
    await ask_match(served, subject)
    asked = rate_limit_pb2.RateLimitDescriptor(policy="match_request", subject=subject)
    request = rate_limit_service_pb2.PeekRateLimitRequest(descriptors=[asked])
    assert (await served.client.rate_limit.PeekRateLimit(request, timeout=TIMEOUT)).results[0].remaining == 4


async def denied_call(served: Served, user: str, deadline: float) -> grpc.aio.AioRpcError:
    """Use up a user's match requests and return the error of one more."""
    for _ in range(5):
        await ask_match(served, user)
    request = matching_service_pb2.RequestMatchRequest(user_id=user)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.client.matching.RequestMatch(request, timeout=deadline)
    return caught.value


async def test_a_denial_says_all_there_is_to_know(served: Served, subject: str) -> None:
    """Status, reason, wait, quota and trailers, as programs, gRPC's retries and people read them."""
    error = await denied_call(served, subject, 60)
    failure = Failure(error)
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert failure.metadata == {"policy": "match_request"}
    wait = failure.detail(error_details_pb2.RetryInfo).retry_delay.ToMicroseconds() / 1e6
    assert 19 < wait <= 22
    (violation,) = failure.detail(error_details_pb2.QuotaFailure).violations
    assert (violation.subject, violation.quota_id, violation.quota_value) == (subject, "match_request", 5)
    trailers = dict(error.trailing_metadata() or ())
    assert abs(int(trailers["grpc-retry-pushback-ms"]) - wait * 1000) <= 1
    assert trailers["ratelimit-policy"] == '"match_request";q=5;w=100'
    assert trailers["ratelimit"].startswith('"match_request";r=0;t=2')


async def test_nobody_is_told_to_wait_in_vain(served: Served, subject: str) -> None:
    """Where the deadline comes before the wait is over, a client's own retries are told to stop."""
    trailers = dict((await denied_call(served, subject, 5)).trailing_metadata() or ())
    assert trailers["grpc-retry-pushback-ms"] == "-1"


async def test_standard_clients_wait_by_themselves(dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """A client with gRPC's retry policy succeeds at the first attempt after the wait, and not before."""
    file = tmp_path / "limits.toml"
    file.write_text("[policies.public_api]\ncapacity = 2\nrefill_per_second = 2.5\n")
    async with serving_limits(dsn, engines.redis_url, tmp_path, rate_limits_file=file) as served:
        user, _ = await join_pair(served.client)
        stub = matching_service_pb2_grpc.MatchingServiceStub(
            grpc.aio.insecure_channel(served.address, options=[("grpc.service_config", RETRYING)])
        )
        request = matching_service_pb2.GetProfileRequest(user_id=user)
        started = asyncio.get_running_loop().time()
        for _ in range(3):
            await stub.GetProfile(request, timeout=TIMEOUT)
        assert 0.2 < asyncio.get_running_loop().time() - started < 2
        labels = {"grpc_service": "wingmanmatch.matching.v1.MatchingService", "grpc_method": "GetProfile"}
        assert served.sample("grpc_server_handled_total", grpc_code="RESOURCE_EXHAUSTED", **labels) <= 2


RETRYING = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.001s",
                    "maxBackoff": "0.001s",
                    "backoffMultiplier": 1,
                    "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
                },
            }
        ]
    }
)


async def test_denied_callers_do_not_return_in_one_tick(served: Served, subject: str) -> None:
    """The hints of denied calls are spread over a tenth of the wait, and none is too early."""
    await denied_call(served, subject, TIMEOUT)
    failures = [await ask_match(served, subject) for _ in range(50)]
    waits = [each.detail(error_details_pb2.RetryInfo).retry_delay.ToMicroseconds() / 1e6 for each in failures]
    assert min(waits) >= 18.5
    assert max(waits) - min(waits) > 1


async def test_a_call_for_nobody_is_charged_to_the_address(served: Served, subject: str) -> None:
    """A user id that cannot be one is charged to where the call comes from."""
    await ask_match(served, subject * 10)
    asked = rate_limit_pb2.RateLimitDescriptor(policy="match_request", subject="127.0.0.1")
    request = rate_limit_service_pb2.PeekRateLimitRequest(descriptors=[asked])
    assert (await served.client.rate_limit.PeekRateLimit(request, timeout=TIMEOUT)).results[0].remaining < 5


async def test_limits_can_be_switched_off(dsn: str, engines: EmbeddedEngines, tmp_path: Path, subject: str) -> None:
    """With ENABLE_RATE_LIMITING=false calls are not charged and GetStatus says so, while RateLimitService goes on."""
    async with serving_limits(dsn, engines.redis_url, tmp_path, enable_rate_limiting=False) as served:
        reasons = {(await ask_match(served, subject)).reason for _ in range(8)}
        asked = rate_limit_pb2.RateLimitDescriptor(policy="match_request", subject=subject, cost=5)
        request: Any = rate_limit_service_pb2.CheckRateLimitRequest(descriptors=[asked])
        assert (await served.client.rate_limit.CheckRateLimit(request, timeout=TIMEOUT)).allowed
        status = await served.client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
        assert {each.name: each.enabled for each in status.features}["rate_limiting"] is False
    assert reasons == {"PROFILE_NOT_FOUND"}


async def test_metrics_never_name_whom_they_count(served: Served, subject: str) -> None:
    """A hundred subjects make no more series than one."""
    asked = [rate_limit_pb2.RateLimitDescriptor(policy="public_api", subject=f"{subject}{n}") for n in range(100)]
    request = rate_limit_service_pb2.CheckRateLimitRequest(descriptors=asked)
    await served.client.rate_limit.CheckRateLimit(request, timeout=TIMEOUT)
    samples = [
        sample
        for metric in served.application.registry.collect()
        for sample in metric.samples
        if sample.name.startswith("ratelimit_")
    ]
    assert {label for sample in samples for label in sample.labels} <= {"policy", "outcome", "le", "version"}
    assert not [sample for sample in samples if subject in str(sample.labels)]


async def test_near_the_limit_is_counted(served: Served, subject: str) -> None:
    """Calls that leave a fifth or less of the capacity are counted."""
    before = served.sample("ratelimit_near_limit_total", policy="match_request")
    for _ in range(6):
        await ask_match(served, subject)
    assert served.sample("ratelimit_near_limit_total", policy="match_request") == before + 2


async def test_guessing_credentials_is_limited(dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """Ten bad credentials an address get their answer, more are told to wait; a good one is not affected."""
    # A database of its own: the bucket is that of the address, which all tests share.
    url = f"{engines.redis_url}?db=7"
    async with serving_limits(dsn, url, tmp_path, **SETTINGS) as served:
        request = rate_limit_service_pb2.ListPoliciesRequest()
        call = served.client.rate_limit.ListPolicies
        reasons = [
            (await failure_of(call(request, metadata=bearer("wrong"), timeout=TIMEOUT))).reason for _ in range(12)
        ]
        assert reasons == ["CREDENTIAL_INVALID"] * 10 + ["RATE_LIMITED"] * 2
        assert (await call(request, metadata=bearer(KEY), timeout=TIMEOUT)).version
