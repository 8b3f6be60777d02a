"""Joins what watches over dependencies, and what reports on them."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from wingmanmatch.system.v1 import system_pb2
from wingmanmatch_server import __version__, errors
from wingmanmatch_server.bootstrap.identity import modes_of
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.ratelimit.policy_file import PolicyFile
from wingmanmatch_server.resilience.breaker import Breaker, Limits, State
from wingmanmatch_server.resilience.retry import Retry, RetryLimits
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.dependencies import Dependencies, Dependency
from wingmanmatch_server.system.service import Process, SystemService
from wingmanmatch_server.telemetry.metrics import CircuitMetrics

log = structlog.get_logger(__name__)

DATABASE_LIMITS = Limits(failure_threshold=5, recovery=60.0)
REDIS_LIMITS = Limits(failure_threshold=3, recovery=30.0, patience=0.2)  # it answers within milliseconds
EMAIL_LIMITS = Limits(failure_threshold=3, recovery=120.0, probe_lease=20.0)
EXTERNAL_API_LIMITS = Limits(failure_threshold=5, recovery=60.0)
RETRY_LIMITS = {
    "database": RetryLimits(attempts=3, base=1.0),
    "redis": RetryLimits(attempts=2, base=0.5),
    "external_api": RetryLimits(attempts=2, base=0.5),
}


@dataclass(frozen=True, slots=True)
class RateLimitFacts:
    """See `system.service.RateLimits`."""

    version: str
    load_time: datetime
    load_error: str
    policy_count: int


def make_breakers(metrics: CircuitMetrics, followers: Sequence[Callable[[], None]]) -> dict[str, Breaker]:
    """Return the circuit breakers by name; a change of state is logged, counted, and told to `followers`."""

    def tell(name: str, state: State) -> None:
        log.warning("circuit_changed", dependency=name, state=str(state))
        metrics.changed(name, state)
        for follow in followers:
            follow()

    limits = {
        "database": DATABASE_LIMITS,
        "redis": REDIS_LIMITS,
        "email": EMAIL_LIMITS,
        "external_api": EXTERNAL_API_LIMITS,
    }
    for name in limits:
        metrics.watch(name)
    return {name: Breaker(name, each, time.monotonic, tell) for name, each in limits.items()}


def make_retries(breakers: Mapping[str, Breaker], on_retry: Callable[[str], object]) -> dict[str, Retry]:
    """Return what retries the calls of each dependency that has limits for it, by name."""
    return {
        name: Retry(limits, breakers[name], time.monotonic, random.random, on_retry=on_retry)
        for name, limits in RETRY_LIMITS.items()
    }


def make_dependencies(
    database: Database, redis: RedisServer, more: Sequence[Dependency], *, by_rest: bool
) -> Dependencies:
    """Return what asks every dependency whether it is there."""
    way = "by Supabase's REST interface" if by_rest else "by PostgreSQL's protocol"
    return Dependencies(
        [
            Dependency("database", f"as the service role, {way}", database.ping),
            Dependency("database_anonymous", f"as the anonymous role, {way}", database.ping_as_anonymous),
            Dependency("redis", "rate limits and user sessions", redis.ping),
            *more,
        ],
        _now,
    )


def make_rate_limiter_check(settings: Settings, breaker: Breaker) -> Dependency:
    """Return what tells whether limits are exact; `breaker` is that of Redis, before which every decision stands."""

    async def ping() -> float:
        if settings.enable_rate_limiting and breaker.open_for() > 0:
            message = "Redis does not decide; each process does, as the policies say for an outage"
            raise errors.Unavailable("REDIS_UNAVAILABLE", message)
        return 0.0

    on = settings.enable_rate_limiting
    return Dependency("rate_limiter", "Redis decides" if on else "off: ENABLE_RATE_LIMITING is false", ping)


def make_system_service(
    settings: Settings, dependencies: Dependencies, breakers: Mapping[str, Breaker], policies: PolicyFile
) -> SystemService:
    """Return the report on this process."""
    process = Process(
        environment=settings.environment.value,
        version=__version__,
        start_time=_now(),
        features=[
            ("rate_limiting", settings.enable_rate_limiting, ""),
            ("ai_coaching", settings.coaches, _why_off(settings)),
            *(_sharing(settings, feature) for feature in ("match_sharing", "challenge_sharing")),
        ],
        identity_modes=_identity_modes(settings),
    )

    def rate_limits() -> RateLimitFacts:
        return RateLimitFacts(
            version=policies.policies.version,
            load_time=policies.load_time,
            load_error="" if policies.usable else "the file cannot be used; the log says why",
            policy_count=len(policies.policies.by_name),
        )

    return SystemService(process, dependencies, breakers, rate_limits, _now)


def _identity_modes(settings: Settings) -> list[system_pb2.IdentityMode.ValueType]:
    if not settings.authenticates:
        return [system_pb2.IDENTITY_MODE_LOOPBACK]
    modes = modes_of(settings)
    known = (
        (modes.api_keys, system_pb2.IDENTITY_MODE_API_KEY),
        (modes.user_tokens, system_pb2.IDENTITY_MODE_USER_TOKEN),
        (modes.certificates, system_pb2.IDENTITY_MODE_CLIENT_CERTIFICATE),
    )
    return [mode for is_on, mode in known if is_on]


def _sharing(settings: Settings, feature: str) -> tuple[str, bool, str]:
    why_not = settings.why_not_shared(feature)
    return feature, not why_not, why_not


def _why_off(settings: Settings) -> str:
    if settings.coaches:
        return ""
    return "ANTHROPIC_API_KEY is not set" if settings.enable_ai_coaching else "ENABLE_AI_COACHING is false"


def _now() -> datetime:
    return datetime.now(UTC)
