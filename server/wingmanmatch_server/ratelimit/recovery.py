"""Finds out that Redis decides in time again, long before the limiter's breaker would let a decision try."""

from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.ratelimit.budget import budget

KEY = "probe:rate_limiter"


async def decides_in_time(server: RedisServer) -> None:
    """Write as a decision does, within its budget. Raises errors.Unavailable if that does not work."""
    await server.probe(KEY)  # may have to connect, which takes longer
    async with budget():
        await server.probe(KEY)
