"""A Redis that answers reads and takes no write: its memory is full, or it cannot save."""

import asyncio
from functools import partial
from pathlib import Path

import grpc
import pytest
import redis.asyncio as redis
from structlog.testing import capture_logs

from support.edge import failure_of
from support.limiters import Served, serving_limits
from support.redis_troubles import Trouble, cannot_save, out_of_memory
from support.server import roomy_limits
from support.session_load import calling, changes, create, eventually, limited, read, unhealthy, write
from support.valkey import OwnValkey

SESSIONS = "wingmanmatch.session.v1.SessionService"
SERVING, NOT_SERVING = 1, 2
SECONDS = 6  # of trouble: more than a second per probe, more than one interval of checks


class Flips:
    """How often a service's health changes."""

    def __init__(self, served: Served) -> None:
        self.seen = [served.health._statuses[SESSIONS]]
        self._served = served

    async def look(self) -> bool:
        """Note a change; return whether the service serves."""
        status = self._served.health._statuses[SESSIONS]
        if status != self.seen[-1]:
            self.seen.append(status)
        return status == SERVING


@pytest.mark.parametrize("trouble", [out_of_memory, cannot_save])
async def test_one_change_each_way(dsn: str, valkey: OwnValkey, tmp_path: Path, trouble: Trouble) -> None:
    """It is unavailable, reported as unhealthy, with one change of breaker and health, and back when a write works.

    Reads that it answers meanwhile close nothing, and no traceback is written.
    """
    with capture_logs() as logs:
        async with (
            redis.from_url(valkey.url) as client,
            serving_limits(dsn, valkey.url, tmp_path, rate_limits_file=roomy_limits(tmp_path)) as served,
        ):
            token = await create(served)
            flips = Flips(served)
            callers = [partial(each, served, token) for each in (read, write) * 2]
            async with calling(partial(limited, served), flips.look, *callers):
                async with trouble(client, tmp_path / "valkey"):
                    await eventually(lambda: is_unhealthy(served, "redis"), 2)
                    await eventually(partial(is_open, served), 2)
                    for _ in range(SECONDS * 4):
                        failure = await failure_of(write(served, token))
                        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN")
                        assert "redis" in await unhealthy(served)
                        await asyncio.sleep(0.25)
                    assert changes(served, "redis") == {"open": 1}
                await eventually(partial(works, served, token), 2)
                await eventually(lambda: is_healthy(served, "redis"), 2)
                await eventually(lambda: is_healthy(served, "rate_limiter"), 2)
                await eventually(flips.look, 2)
            assert changes(served, "redis") == {"open": 1, "closed": 1}
            assert changes(served, "rate_limiter") in ({"open": 1, "closed": 1}, {})
            assert flips.seen == [SERVING, NOT_SERVING, SERVING]
    assert [log["event"] for log in logs if log.get("exc_info")] == []


async def is_open(served: Served) -> bool:
    """Return whether the breaker of sessions is."""
    return served.sample("wingmanmatch_circuit_open", dependency="redis") == 1


async def is_unhealthy(served: Served, name: str) -> bool:
    """Return whether a dependency is reported as unhealthy."""
    return name in await unhealthy(served)


async def is_healthy(served: Served, name: str) -> bool:
    """Return whether a dependency is reported as healthy."""
    return not await is_unhealthy(served, name)


async def works(served: Served, token: str) -> bool:
    """Return whether a write is served."""
    try:
        await write(served, token)
    except grpc.aio.AioRpcError:
        return False
    return True
