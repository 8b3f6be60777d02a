"""Joins what every area stands on."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.bootstrap.breakers import make_breakers, make_probers, make_retries
from wingmanmatch_server.bootstrap.database import database_probes, guard, open_database
from wingmanmatch_server.bootstrap.rate_limits import open_rate_limits
from wingmanmatch_server.bootstrap.signing import signing_secrets
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.redis import RedisServer, open_redis
from wingmanmatch_server.drivers.redis_url import Kind, parse_redis_url
from wingmanmatch_server.local_times import time_zones
from wingmanmatch_server.paging import PageTokens
from wingmanmatch_server.ratelimit.limiter import Limiter
from wingmanmatch_server.ratelimit.policy_file import PolicyFile
from wingmanmatch_server.ratelimit.recovery import decides_in_time
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.resilience.prober import Probe
from wingmanmatch_server.resilience.retry import Retry
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.telemetry.metrics import CircuitMetrics


@dataclass(frozen=True, slots=True)
class Core:
    """The settings, the dependencies with what guards them, and the rate limits.

    Areas call `database`, which stands behind its breaker; `unguarded` is for those who ask whether it is there.
    """

    settings: Settings
    registry: CollectorRegistry
    unguarded: Database
    database: Database
    redis: RedisServer
    breakers: Mapping[str, Breaker]
    retries: Mapping[str, Retry]
    policies: PolicyFile
    limiter: Limiter
    time_zones: Collection[str]
    signing_secrets: Sequence[str]
    pages: PageTokens

    @property
    def charged(self) -> Limiter | None:
        """What calls are charged to; None where rate limiting is off."""
        return self.limiter if self.settings.enable_rate_limiting else None


@asynccontextmanager
async def open_core(
    settings: Settings,
    database_url: str | None,
    redis_url: str,
    registry: CollectorRegistry,
    policies: PolicyFile,
    followers: Sequence[Callable[[], None]],
) -> AsyncIterator[Core]:
    """Connect to the dependencies, and follow what they and the file of rate limits do.

    `followers` are told whenever a circuit breaker changes. Raises errors.Unavailable if the database does not answer;
    Redis may be away.
    """
    circuits = CircuitMetrics(registry)
    clustered = parse_redis_url(redis_url).kind is Kind.CLUSTER
    breakers = make_breakers(circuits, followers, redis_clustered=clustered)
    retries = make_retries(breakers, circuits.retried)
    secrets = signing_secrets(settings)
    async with (
        open_database(settings, database_url) as unguarded,
        open_redis(redis_url, seconds=settings.redis_timeout, password_file=settings.redis_password_file) as redis,
        background(*(prober.run() for prober in make_probers(breakers, make_probes(unguarded, redis)))),
        open_rate_limits(settings, redis, breakers["rate_limiter"], registry, policies) as limiter,
    ):
        yield Core(
            settings=settings,
            registry=registry,
            unguarded=unguarded,
            database=guard(unguarded, settings, breakers, retries["database"], registry),
            redis=redis,
            breakers=breakers,
            retries=retries,
            policies=policies,
            limiter=limiter,
            time_zones=time_zones(),
            signing_secrets=secrets,
            pages=PageTokens(secrets, time.time),
        )


def make_probes(database: Database, redis: RedisServer) -> dict[str, Probe]:
    """Return what finds out whether dependencies serve, by the names of their breakers: each does what callers do.

    Resend and Claude have none: every request to them costs.
    """
    return {
        **database_probes(database),
        "redis": partial(redis.probe, "probe:redis"),
        "rate_limiter": partial(decides_in_time, redis),
        "catalogue_cache": partial(redis.probe, "probe:catalogue_cache"),
    }
