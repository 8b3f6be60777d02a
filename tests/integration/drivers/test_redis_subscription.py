"""Subscriptions, and how they end."""

import asyncio
import time

import pytest

from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.ratelimit.denials import Denials


@pytest.mark.parametrize("turns", [0, 1, 2, 4, 8, 16, 32, 64])
async def test_cancellation_at_any_moment_ends_the_follower(engines: EmbeddedEngines, turns: int) -> None:
    """Cancelled while it connects, subscribes or listens, the follower ends at once."""
    async with open_redis(engines.redis_url) as redis:
        follower = asyncio.create_task(Denials(time.monotonic).follow(redis))
        for _ in range(turns):
            await asyncio.sleep(0)
        follower.cancel()
        done, _ = await asyncio.wait([follower], timeout=2)
        assert done
        assert follower.cancelled()
