"""A failover that an operator asks the sentinels for: the old primary lives, and acknowledges writes that are lost."""

import asyncio
import time
from pathlib import Path

import pytest

from support.limiters import Served, serving_limits
from support.redis_sentinel import Watched, watched_servers
from support.server import roomy_limits
from support.session_load import Sessions, changes

CALLERS = 5
BEFORE, AFTER = 1.0, 11.0  # seconds; a sentinel demotes the old primary ten seconds after the switch


async def through_a_failover(served: Served, watched: Watched) -> tuple[Sessions, float]:
    """Open sessions before, during and after a failover; return them, and the moment of the switch."""
    sessions = Sessions(served)
    callers = [asyncio.create_task(sessions.go_on()) for _ in range(CALLERS)]
    await asyncio.sleep(BEFORE)
    await watched.fail_over_as_planned()
    switched = time.monotonic()
    await asyncio.sleep(AFTER)
    sessions.end()
    await asyncio.gather(*callers)
    return sessions, switched


async def test_nothing_acknowledged_after_the_switch_is_lost(dsn: str, tmp_path: Path) -> None:
    """Connections leave the old primary when the switch is announced, and not when it is demoted seconds later."""
    async with (
        watched_servers(tmp_path) as watched,
        serving_limits(dsn, watched.url, tmp_path, rate_limits_file=roomy_limits(tmp_path)) as served,
    ):
        sessions, switched = await through_a_failover(served, watched)
        after = [started for started, _ in sessions.acknowledged if started > switched]
        assert len(after) > 100
        assert [started for started in await sessions.lost() if started > switched] == []
        assert changes(served, "redis") in ({}, {"open": 1, "closed": 1})


@pytest.mark.slow
async def test_nothing_at_all_is_lost_where_the_primary_needs_a_replica(dsn: str, tmp_path: Path) -> None:
    """With min-replicas-to-write the old primary refuses writes as soon as its replica was promoted."""
    async with (
        watched_servers(tmp_path, min_replicas_to_write="1") as watched,
        serving_limits(dsn, watched.url, tmp_path, rate_limits_file=roomy_limits(tmp_path)) as served,
    ):
        # The new primary has no replica until the old one follows it, so it refuses writes for a while.
        sessions, _ = await through_a_failover(served, watched)
        assert len(sessions.acknowledged) > 10
        assert await sessions.lost() == []
