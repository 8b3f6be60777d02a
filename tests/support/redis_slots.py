"""Slots that move from node to node of a real cluster."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis

from support.redis_cluster import cluster_ports

NODES = 3
BATCH = 2  # keys at a time, so that slots are half here and half there for a while


class MovingSlots:
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


@asynccontextmanager
async def moving_slots(url: str) -> AsyncIterator[MovingSlots]:
    """Yield what moves the slots of the cluster at `url`."""
    slots = MovingSlots(await cluster_ports(url))
    try:
        yield slots
    finally:
        for node in slots.nodes:
            await node.aclose()
