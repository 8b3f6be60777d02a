"""Joins what watches over dependencies, what their state means for health, and what reports on them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from wingmanmatch.system.v1 import system_pb2
from wingmanmatch_server import __version__, errors
from wingmanmatch_server.bootstrap.area import Area
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.bootstrap.core import Core
from wingmanmatch_server.bootstrap.identity import modes_of
from wingmanmatch_server.bootstrap.services import SERVICES, service_names
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.ratelimit.policy_file import PolicyFile
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.availability import Availability
from wingmanmatch_server.system.dependencies import Dependencies, Dependency
from wingmanmatch_server.system.health import PROCESS_NAMES, Health
from wingmanmatch_server.system.service import Process, SystemService

CHECK_INTERVAL = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class RateLimitFacts:
    """See `system.service.RateLimits`."""

    version: str
    load_time: datetime
    load_error: str
    policy_count: int


@dataclass(frozen=True, slots=True)
class Status:
    """The health of the process and of each service, and the report on all of it."""

    health: Health
    area: Area


@asynccontextmanager
async def open_status(core: Core, areas: Sequence[Area], followers: list[Callable[[], None]]) -> AsyncIterator[Status]:
    """Ask every dependency now and then, and keep health true to what was found; `followers` gets what to tell."""
    more = [dependency for area in areas for dependency in area.dependencies]
    dependencies = make_dependencies(core, more)
    health = Health((*PROCESS_NAMES, *service_names()))
    availability = Availability(health, SERVICES, dependencies, core.breakers)
    changed = asyncio.Event()
    followers += [availability.refresh, changed.set]
    service = make_system_service(core.settings, dependencies, core.breakers, core.policies)
    sleep = partial(_until_changed, changed)
    async with background(repeat("check_dependencies", availability.check, interval=CHECK_INTERVAL, sleep=sleep)):
        yield Status(health, Area(services={"wingmanmatch.system.v1.SystemService": service}))


async def _until_changed(changed: asyncio.Event, seconds: float) -> None:
    """Wait until a circuit breaker changes, at most so long: what it found out is checked and reported at once."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await changed.wait()
    changed.clear()


def make_dependencies(core: Core, more: Sequence[Dependency]) -> Dependencies:
    """Return what asks every dependency whether it is there."""
    database = core.unguarded
    way = "by Supabase's REST interface" if core.settings.by_rest else "by PostgreSQL's protocol"
    return Dependencies(
        [
            Dependency("database", f"as the service role, {way}", database.ping),
            Dependency("database_writes", "changes are accepted", partial(timed, database.probe)),
            Dependency("database_anonymous", f"as the anonymous role, {way}", database.ping_as_anonymous),
            Dependency("redis", "takes writes; user sessions, conversations and rate limits", core.redis.ping),
            make_rate_limiter_check(core.settings, core.breakers["rate_limiter"]),
            *more,
        ],
        _now,
    )


async def timed(ask: Callable[[], Awaitable[None]]) -> float:
    """Return the seconds that an answer takes. Raises what `ask` raises."""
    started = time.perf_counter()
    await ask()
    return time.perf_counter() - started


def make_rate_limiter_check(settings: Settings, breaker: Breaker) -> Dependency:
    """Return what tells whether limits are exact; `breaker` is the limiter's own."""

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
