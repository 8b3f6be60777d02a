"""Finds out that Redis is back long before its circuit breaker would let a call try."""

import asyncio

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.ratelimit.budget import BUDGET
from wingmanmatch_server.resilience.breaker import Breaker, State

INTERVAL = 0.25
LONGEST_PROBE = 0.5


async def recover(server: RedisServer, breaker: Breaker) -> None:
    """Close an open breaker if the server answers fast enough to be of use."""
    if breaker.state is State.CLOSED:
        return
    try:
        async with asyncio.timeout(LONGEST_PROBE):
            await server.ping()  # may have to connect, which takes longer
            if await server.ping() < BUDGET:
                breaker.reset()
    except (errors.Unavailable, TimeoutError):
        return
