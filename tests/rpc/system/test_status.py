"""SystemService, through the whole server."""

import grpc

from support.edge import failure_of
from support.requests import TIMEOUT
from support.stubs import Stubs
from wingmanmatch.system.v1 import system_pb2, system_service_pb2
from wingmanmatch_server import __version__


async def status(client: Stubs) -> system_service_pb2.GetStatusResponse:
    """Return the report, once the dependencies were asked for the first time."""
    while True:
        report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
        if report.dependencies:
            return report


async def test_report_tells_everything(client: Stubs) -> None:
    """Both database roles, Redis, mail, breakers, features, policies, identity and version are there."""
    report = await status(client)
    assert report.status == system_pb2.SYSTEM_STATUS_HEALTHY
    assert (report.environment, report.version) == ("development", __version__)
    assert [dependency.name for dependency in report.dependencies] == [
        "database",
        "database_writes",
        "database_anonymous",
        "redis",
        "rate_limiter",
        "email",
    ]
    assert all(dependency.healthy and dependency.HasField("latency") for dependency in report.dependencies)
    assert [(breaker.name, breaker.failure_threshold) for breaker in report.circuit_breakers] == [
        ("catalogue_cache", 3),
        ("database", 5),
        ("database_writes", 1),
        ("email", 3),
        ("external_api", 5),
        ("rate_limiter", 3),
        ("redis", 3),
    ]
    assert {breaker.state for breaker in report.circuit_breakers} == {system_pb2.CIRCUIT_BREAKER_STATE_CLOSED}
    assert {feature.name: feature.enabled for feature in report.features} == {
        "rate_limiting": True,
        "ai_coaching": False,
        "match_sharing": True,
        "challenge_sharing": True,
    }
    assert report.rate_limits.policy_count >= 5
    assert report.rate_limits.version
    assert list(report.identity_modes) == [system_pb2.IDENTITY_MODE_LOOPBACK]
    assert report.start_time.ToSeconds() <= report.report_time.ToSeconds()


async def test_breakers_are_listed_and_reset(client: Stubs) -> None:
    """A breaker can be closed by name; an unknown one has a reason."""
    listed = await client.system.ListCircuitBreakers(system_service_pb2.ListCircuitBreakersRequest(), timeout=TIMEOUT)
    assert [breaker.name for breaker in listed.circuit_breakers] == [
        "catalogue_cache",
        "database",
        "database_writes",
        "email",
        "external_api",
        "rate_limiter",
        "redis",
    ]
    request = system_service_pb2.ResetCircuitBreakerRequest(name="redis")
    answer = await client.system.ResetCircuitBreaker(request, timeout=TIMEOUT)
    assert answer.circuit_breaker.state == system_pb2.CIRCUIT_BREAKER_STATE_CLOSED
    request = system_service_pb2.ResetCircuitBreakerRequest(name="nothing")
    failure = await failure_of(client.system.ResetCircuitBreaker(request, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CIRCUIT_BREAKER_NOT_FOUND")
