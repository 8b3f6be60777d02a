"""Slots that move from node to node of a real cluster, under callers."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.limiters import Served, serving_limits
from support.redis_cluster import redis_cluster
from support.redis_slots import MovingSlots, moving_slots
from support.server import roomy_limits
from support.session_load import REDIS_BREAKERS, Outcomes, changes, create, limited, read, write

CALLERS = 6
SECONDS = 8.0


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[str, MovingSlots]]:
    """A cluster of three nodes, and its URL."""
    async with redis_cluster(tmp_path) as url, moving_slots(url) as slots:
        yield url, slots


async def test_callers_notice_nothing(dsn: str, cluster: tuple[str, MovingSlots], tmp_path: Path) -> None:
    """While slots move every call is served, and no breaker changes."""
    url, moving = cluster
    async with serving_limits(dsn, url, tmp_path, rate_limits_file=roomy_limits(tmp_path)) as served:
        outcomes = Outcomes()
        tokens = [await create(served) for _ in range(60)]
        until = time.monotonic() + SECONDS
        callers = [asyncio.create_task(go_on(served, tokens, outcomes, until)) for _ in range(CALLERS)]
        while time.monotonic() < until:
            await moving.move_some()
        await asyncio.gather(*callers)
        assert moving.moved > 20
        assert outcomes.counts["OK"] > 500
        assert (outcomes.failed, outcomes.counts) == (0, {"OK": outcomes.counts["OK"]})
        assert {name: changes(served, name) for name in REDIS_BREAKERS} == {name: {} for name in REDIS_BREAKERS}


async def go_on(served: Served, tokens: list[str], outcomes: Outcomes, until: float) -> None:
    """Read, change and open sessions, and spend from limits."""
    while time.monotonic() < until:
        token = random.choice(tokens)
        await outcomes.of(read(served, token))
        await outcomes.of(write(served, token))
        await outcomes.of(create(served))
        await outcomes.of(limited(served))
