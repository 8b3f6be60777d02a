"""Joins rate limits."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from wingmanmatch_server.bootstrap.area import Area
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.housekeeping import repeat
from wingmanmatch_server.ratelimit.clustered import ClusteredBuckets
from wingmanmatch_server.ratelimit.denials import Denials
from wingmanmatch_server.ratelimit.envoy import EnvoyRateLimitService
from wingmanmatch_server.ratelimit.limiter import Limiter
from wingmanmatch_server.ratelimit.local_buckets import LocalBuckets
from wingmanmatch_server.ratelimit.metrics import RateLimitMetrics
from wingmanmatch_server.ratelimit.policy_file import PolicyFile
from wingmanmatch_server.ratelimit.service import RateLimitService
from wingmanmatch_server.ratelimit.token_bucket import TokenBuckets
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.settings import Settings

RELOAD_INTERVAL = 1.0  # seconds


@asynccontextmanager
async def open_rate_limits(
    settings: Settings,
    redis: RedisServer,
    breaker: Breaker,
    registry: CollectorRegistry,
    file: PolicyFile | None = None,
) -> AsyncIterator[Limiter]:
    """Make what decides about rate limits, and follow its file. Raises PolicyFileError about it."""
    metrics, denials = RateLimitMetrics(registry), Denials(time.monotonic)
    file = file or PolicyFile(settings.rate_limits_file)
    kind = ClusteredBuckets if redis.clustered else TokenBuckets
    buckets = kind(redis, breaker, time.monotonic, on_batch=metrics.batch)
    limiter = Limiter(file.policies, buckets, denials, LocalBuckets(time.monotonic), metrics, random.random)

    async def follow() -> None:
        if await file.reload():
            limiter.use(file.policies)
        metrics.policies(file.policies.version, file_usable=file.usable)

    async with (
        background(denials.follow(redis)),
        background(repeat("reload_rate_limits", follow, interval=RELOAD_INTERVAL)),
    ):
        yield limiter


def make_rate_limit_services(limiter: Limiter) -> Area:
    """Make what serves rate limits, to callers and to Envoy."""
    return Area(
        services={
            "wingmanmatch.ratelimit.v1.RateLimitService": RateLimitService(limiter),
            "envoy.service.ratelimit.v3.RateLimitService": EnvoyRateLimitService(limiter),
        },
        erasers={"rate_limits": limiter.forget},
    )
