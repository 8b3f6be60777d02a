"""Slots that move from node to node of a real cluster, under callers."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis

from support.limiters import Served, serving_limits
from support.redis_cluster import cluster_ports, redis_cluster
from support.server import roomy_limits
from support.session_load import REDIS_BREAKERS, Outcomes, changes, create, limited, read, write

CALLERS = 6
SECONDS = 8.0
NODES = 3
BATCH = 2  # keys at a time, so that slots are half here and half there for a while


class Cluster:
    """The nodes, and the moving of slots between them."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.nodes = [redis.Redis(port=port, decode_responses=True) for port in ports]
        self.moved = 0
        self._random = random.Random(1)

    async def move_some(self) -> None:
        """Move a slot that has keys to the next node, key by key."""
        source = self._random.randrange(NODES)
        target = (source + 1) % NODES
        key = await self.nodes[source].randomkey()
        if key is None:
            return
        slot = await self.nodes[source].execute_command("CLUSTER", "KEYSLOT", key)
        ids = [await node.execute_command("CLUSTER", "MYID") for node in self.nodes]
        await self.nodes[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        await self.nodes[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        await self._move_keys(source, target, slot)
        for node in (target, source, 3 - target - source):
            await self.nodes[node].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        self.moved += 1

    async def _move_keys(self, source: int, target: int, slot: int) -> None:
        while keys := await self.nodes[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, BATCH):
            await self.nodes[source].execute_command(
                "MIGRATE", "127.0.0.1", self.ports[target], "", 0, 5000, "KEYS", *keys
            )
            await asyncio.sleep(0.01)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[str, Cluster]]:
    """A cluster of three nodes, and its URL."""
    async with redis_cluster(tmp_path) as url:
        cluster = Cluster(await cluster_ports(url))
        yield url, cluster
        for node in cluster.nodes:
            await node.aclose()


async def test_callers_notice_nothing(dsn: str, cluster: tuple[str, Cluster], tmp_path: Path) -> None:
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
