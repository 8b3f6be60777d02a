"""Token buckets on the real engine, with a clock that a test holds."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from wingmanmatch_server.drivers.redis import RedisServer, Script, open_redis
from wingmanmatch_server.ratelimit.batch import Answer, Ask
from wingmanmatch_server.ratelimit.policies import Limit, built_in
from wingmanmatch_server.ratelimit.token_bucket import SCRIPT, TokenBuckets
from wingmanmatch_server.resilience.breaker import Breaker, Limits

START = 1_800_000_000
POLICIES = {policy.name: policy.limit for policy in built_in()}
READS_CLOCK = "redis.call('TIME')"


def frozen_script(clock_key: str) -> Script:
    """Return the bucket's script with its one look at the clock replaced by a look at a key.

    The server's own script has no such door: only a test can make this text.
    """
    assert SCRIPT.text.count(READS_CLOCK) == 1
    return Script(SCRIPT.text.replace(READS_CLOCK, f"redis.call('LRANGE', '{clock_key}', 0, 1)"))


def make_breaker() -> Breaker:
    """Return Redis' breaker as the server has it."""
    return Breaker("redis", Limits(3, 30.0), time.monotonic)


class Bench:
    """Buckets of one subject that nobody else uses, under a clock that stands still until it is moved."""

    def __init__(self, server: RedisServer, subject: str) -> None:
        self.server = server
        self.subject = subject
        self.now = float(START)
        self._clock_key = f"clock:{subject}"
        self.buckets = TokenBuckets(server, make_breaker(), time.monotonic, frozen_script(self._clock_key))

    @property
    def raw(self) -> Any:
        """redis-py's own client."""
        return self.server.client

    async def set_clock(self, seconds: float) -> None:
        """Set the clock to so many seconds after the start."""
        microseconds = round((START + seconds) * 1_000_000)
        self.now = START + seconds
        pipeline = self.raw.pipeline(transaction=True)
        pipeline.delete(self._clock_key)
        pipeline.rpush(self._clock_key, microseconds // 1_000_000, microseconds % 1_000_000)
        await pipeline.execute()

    def ask_of(self, limit: Limit, cost: int = 1) -> Ask:
        """Return what to ask this subject's bucket."""
        return Ask(limit.key_of(self.subject), limit, cost)

    async def ask(self, limit: Limit, cost: int = 1) -> Answer:
        """Ask one bucket."""
        return (await self.buckets.ask([self.ask_of(limit, cost)])).answers[0]

    async def empty(self, limit: Limit) -> None:
        """Take all that a full bucket holds."""
        assert (await self.ask(limit, limit.capacity)).allowed

    async def admitted(self, limit: Limit) -> int:
        """Take single tokens until one is denied; return how many there were."""
        count = 0
        while (await self.ask(limit)).allowed:
            count += 1
        return count

    async def value(self, limit: Limit) -> bytes | None:
        """Return what the bucket's key holds."""
        value: bytes | None = await self.raw.get(limit.key_of(self.subject))
        return value

    async def lifetime(self, limit: Limit) -> int:
        """Return the milliseconds until the bucket's key expires; -2 without a key."""
        return int(await self.raw.pttl(limit.key_of(self.subject)))


@asynccontextmanager
async def open_bench(redis_url: str) -> AsyncIterator[Bench]:
    """Open buckets on the server at `redis_url` at the start of the clock."""
    async with open_redis(redis_url) as server:
        bench = Bench(server, uuid.uuid4().hex)
        await bench.set_clock(0)
        yield bench
