"""Rate limits while Redis is killed, stopped, slow or closed to us, and when it is back."""

import asyncio
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from support.databases import fresh_database
from support.edge import failure_of
from support.lateness import stopwatch
from support.limiters import OpenLimiter, open_limiter, serving_limits, until
from support.redis_proxy import proxying
from support.valkey import OwnValkey, own_valkey
from wingmanmatch.envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from wingmanmatch.envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.resilience.breaker import State

LIMITS = """
replicas = 2

[policies.closing]
capacity = 10
refill_per_second = 0.01
outage = "deny"

[policies.opening]
capacity = 10
refill_per_second = 0.01
outage = "allow"

[policies.sharing]
capacity = 10
refill_per_second = 0.01
"""
LONGEST = 0.05  # seconds that a decision may take
SLACK = 0.03  # seconds for the work of a decision itself on a slow machine


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    """A Valkey of the test's own."""
    with own_valkey(tmp_path) as valkey:
        yield valkey


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The policies above."""
    file = tmp_path / "limits.toml"
    file.write_text(LIMITS)
    return file


async def timed(limits: OpenLimiter, policy: str, subject: str, attempts: int) -> tuple[int, float]:
    """Return how many attempts passed, all of them degraded, and how long the slowest took."""
    passed, slowest = 0, 0.0
    async with stopwatch() as watch:
        for _ in range(attempts):
            started = watch.now()
            decision = await limits.check(policy, subject)
            slowest = max(slowest, watch.now() - started)
            assert decision.degraded
            passed += decision.allowed
    return passed, slowest


async def decide_by_outage_behaviour(limits: OpenLimiter) -> None:
    """Check what each behaviour lets pass, and how fast."""
    subject = uuid.uuid4().hex
    results = {policy: await timed(limits, policy, subject, 20) for policy in ("closing", "opening", "sharing")}
    assert {policy: passed for policy, (passed, _) in results.items()} == {"closing": 0, "opening": 20, "sharing": 5}
    assert max(slowest for _, slowest in results.values()) < LONGEST + SLACK
    with pytest.raises(errors.Unavailable):
        await limits.limiter.spend("closing", subject, "")
    assert limits.breaker.state is State.OPEN
    assert limits.counted("sharing", "allowed_degraded") == 5


async def exact_again(limits: OpenLimiter) -> float:
    """Return the seconds until a decision is exact again."""
    async with stopwatch() as watch, asyncio.timeout(30):
        started = watch.now()
        while (await limits.check("opening", uuid.uuid4().hex)).degraded:
            await asyncio.sleep(0.01)
    return watch.now() - started


async def test_killed_and_started_again(valkey: OwnValkey, file: Path) -> None:
    """Each policy's behaviour decides at once; within a second of its return Redis decides again."""
    async with open_limiter(valkey.url, file) as limits:
        assert not (await limits.check("sharing", "somebody")).degraded
        valkey.kill()
        await until(lambda: not limits.limiter._denials._hearing)
        await decide_by_outage_behaviour(limits)
        valkey.start()
        assert await exact_again(limits) < 1


async def test_stopped_and_continued(valkey: OwnValkey, file: Path) -> None:
    """A Redis that hangs costs the first calls the budget and the rest nothing."""
    async with open_limiter(valkey.url, file) as limits:
        await limits.check("sharing", "somebody")
        valkey.send(signal.SIGSTOP)
        try:
            await decide_by_outage_behaviour(limits)
        finally:
            valkey.send(signal.SIGCONT)
        assert await exact_again(limits) < 1


async def test_no_stall_for_a_crowd(valkey: OwnValkey, file: Path) -> None:
    """Three hundred calls that find Redis hanging wait for one budget together, not one after the other."""
    async with open_limiter(valkey.url, file) as limits:
        await limits.check("sharing", "somebody")
        valkey.send(signal.SIGSTOP)
        async with stopwatch() as watch:
            started = watch.now()
            decisions = await asyncio.gather(*(limits.check("opening", uuid.uuid4().hex) for _ in range(300)))
            seconds = watch.now() - started
        valkey.send(signal.SIGCONT)
        assert all(decision.degraded for decision in decisions)
        assert seconds < 6 * LONGEST


async def test_too_slow_is_away(valkey: OwnValkey, file: Path, tmp_path: Path) -> None:
    """A Redis that answers after 200 ms is away until it is fast again: a probe that connects is not enough."""
    async with proxying(valkey.url, tmp_path) as proxy, open_limiter(proxy.url, file) as limits:
        await limits.check("sharing", "somebody")
        proxy.reply_delay = 0.2
        await decide_by_outage_behaviour(limits)
        await asyncio.sleep(1)
        assert limits.breaker.state is State.OPEN
        proxy.reply_delay = 0.0
        assert await exact_again(limits) < 1


async def test_wrong_password(valkey: OwnValkey, file: Path) -> None:
    """A server that asks for a password counts as away, and its text goes nowhere."""
    async with open_limiter(valkey.url, file) as limits:
        await limits.redis.client.config_set("requirepass", "secret")
        await limits.redis.client.connection_pool.disconnect()
        await decide_by_outage_behaviour(limits)


async def test_local_buckets_keep_all_or_nothing(valkey: OwnValkey, file: Path) -> None:
    """In an outage too a denied ALL costs nothing, and a peek neither."""
    async with open_limiter(valkey.url, file) as limits:
        valkey.kill()
        asks = [limits.limiter.resolve(policy, "somebody", 2, "") for policy in ("sharing", "closing")]
        both = await limits.limiter.decide(asks, all_or_nothing=True)
        assert (both.degraded, both.allowed, both.answers[0].remaining) == (True, False, 5)
        peeked = await limits.limiter.decide(asks[:1], peek=True)
        assert (peeked.allowed, peeked.answers[0].remaining) == (True, 5)


async def test_the_whole_server(admin_dsn: str, valkey: OwnValkey, file: Path, tmp_path: Path) -> None:
    """Checks go on, degraded; what needs Redis says UNAVAILABLE at once, to Envoy too; health and metrics show it."""
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_limits(dsn, valkey.url, tmp_path, rate_limits_file=file) as served,
    ):
        limits = served.client.rate_limit
        asked = [rate_limit_pb2.RateLimitDescriptor(policy="sharing", subject="somebody")]
        check = rate_limit_service_pb2.CheckRateLimitRequest(descriptors=asked)
        assert not (await limits.CheckRateLimit(check, timeout=5)).degraded
        valkey.kill()
        answers = [await limits.CheckRateLimit(check, timeout=5) for _ in range(10)]
        assert [answer.allowed for answer in answers] == [True] * 5 + [False] * 5
        assert all(answer.degraded for answer in answers)

        refund = rate_limit_service_pb2.RefundRateLimitRequest(descriptors=asked)
        failure = await failure_of(limits.RefundRateLimit(refund, timeout=5))
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN")
        entry = ratelimit_pb2.RateLimitDescriptor.Entry(key="policy", value="sharing")
        descriptors = [ratelimit_pb2.RateLimitDescriptor(entries=[entry])]
        request = rls_pb2.RateLimitRequest(domain="test", descriptors=descriptors)
        envoy = rls_pb2_grpc.RateLimitServiceStub(served.channel)
        assert (await failure_of(envoy.ShouldRateLimit(request, timeout=5))).code is grpc.StatusCode.UNAVAILABLE

        statuses = served.health._statuses
        assert {name for name, status in statuses.items() if status == 2} >= {
            "envoy.service.ratelimit.v3.RateLimitService",
            "wingmanmatch.ratelimit.v1.RateLimitService",
        }
        assert [statuses[name] for name in ("", "liveness", "readiness")] == [1, 1, 1]
        counted = served.sample("ratelimit_decisions_total", policy="sharing", outcome="denied_degraded")
        assert counted == 5


async def test_the_server_starts_without_redis(admin_dsn: str, tmp_path: Path) -> None:
    """Where Redis is away from the start the server serves, by the outage behaviours."""
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_limits(dsn, f"unix://{tmp_path}/none.sock", tmp_path) as served,
    ):
        asked = [rate_limit_pb2.RateLimitDescriptor(policy="public_api", subject="somebody")]
        check = rate_limit_service_pb2.CheckRateLimitRequest(descriptors=asked)
        answer = await served.client.rate_limit.CheckRateLimit(check, timeout=5)
        assert (answer.allowed, answer.degraded) == (True, True)
