"""The limiter as the server composes it, on the real engine, and the whole server around it."""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from support.stubs import Stubs
from wingmanmatch_server.bootstrap import Application, open_application
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.bootstrap.breakers import REDIS_LIMITS, make_probers
from wingmanmatch_server.bootstrap.rate_limits import open_rate_limits
from wingmanmatch_server.drivers.redis import RedisServer, open_redis
from wingmanmatch_server.ratelimit.limiter import Decision, Limiter
from wingmanmatch_server.ratelimit.recovery import decides_in_time
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.serving import listening
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.health import Health


class OpenLimiter:
    """A limiter, what it is made of, and what it counts."""

    def __init__(self, limiter: Limiter, redis: RedisServer, breaker: Breaker, registry: CollectorRegistry) -> None:
        self.limiter = limiter
        self.redis = redis
        self.breaker = breaker
        self._registry = registry

    async def check(self, policy: str, subject: str, cost: int = 1, **options: Any) -> Decision:
        """Ask one bucket."""
        return await self.limiter.decide([self.limiter.resolve(policy, subject, cost, "")], **options)

    async def allowed(self, policy: str, subject: str, attempts: int) -> int:
        """Return how many of so many attempts pass."""
        return sum([(await self.check(policy, subject)).allowed for _ in range(attempts)])

    def counted(self, policy: str, outcome: str) -> float:
        """Return how many decisions had an outcome."""
        labels = {"policy": policy, "outcome": outcome}
        return self._registry.get_sample_value("ratelimit_decisions_total", labels) or 0

    def round_trips(self) -> float:
        """Return how often Redis was asked."""
        return self._registry.get_sample_value("ratelimit_batch_calls_count") or 0


@asynccontextmanager
async def open_limiter(redis_url: str, policies: Path | None = None) -> AsyncIterator[OpenLimiter]:
    """Compose a limiter as `bootstrap/` does, with its breaker and what probes it."""
    registry, settings = CollectorRegistry(), Settings(_env_file=None, rate_limits_file=policies)
    async with open_redis(redis_url) as redis:
        breaker = Breaker("rate_limiter", replace(REDIS_LIMITS, confirmed=redis.clustered), time.monotonic)
        (prober,) = make_probers({"rate_limiter": breaker}, {"rate_limiter": partial(decides_in_time, redis)})
        async with open_rate_limits(settings, redis, breaker, registry) as limiter, background(prober.run()):
            await until(lambda: limiter._denials._hearing)
            yield OpenLimiter(limiter, redis, breaker, registry)


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Return once `condition()` holds; fail if it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class Served:
    """A whole server, for tests of its rate limits."""

    def __init__(self, application: Application, port: int, channel: grpc.aio.Channel) -> None:
        self.application = application
        self.address = f"127.0.0.1:{port}"
        self.channel = channel
        self.client = Stubs(channel)

    def sample(self, name: str, **labels: str) -> float:
        """Return a metric's value, 0 if there is none."""
        return self.application.registry.get_sample_value(name, labels) or 0

    @property
    def health(self) -> Health:
        """What the server says of its health."""
        return self.application.health


@asynccontextmanager
async def serving_limits(dsn: str, redis_url: str, folder: Path, **settings: Any) -> AsyncIterator[Served]:
    """Serve the application with the built-in limits unless the settings say otherwise."""
    async with AsyncExitStack() as stack:
        given = Settings(_env_file=None, data_dir=folder, redis_url=redis_url, **settings)
        application = await stack.enter_async_context(open_application(given, dsn, redis_url, io.BytesIO()))
        _, port = await stack.enter_async_context(listening(application, "127.0.0.1:0"))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        yield Served(application, port, channel)
