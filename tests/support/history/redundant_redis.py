"""Redis with replicas, watched by a sentinel or as a cluster, whose replication can be cut and whose primary killed."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio as redis

from support.redis_cluster import SLOTS, _answers, free_ports, start_node
from support.redis_sentinel import PASSWORD, Watched, watched_servers

NOBODY = ("127.0.0.1", "1")  # where no primary listens


class WatchedPair:
    """A primary and a replica, and the sentinel that names the primary."""

    def __init__(self, watched: Watched) -> None:
        self.url = watched.url
        self._watched = watched

    async def cut_replication(self) -> None:
        """Keep the replica from hearing of what is written from now on."""
        async with redis.Redis(port=self._watched.ports[1], password=PASSWORD) as replica:
            await replica.execute_command("REPLICAOF", *NOBODY)

    async def fail_over(self) -> None:
        """Kill the primary and return once the replica has taken its place."""
        await self._watched.fail_over()


@asynccontextmanager
async def watched_pair(folder: Path) -> AsyncIterator[WatchedPair]:
    """Yield a started pair."""
    async with watched_servers(folder) as watched:
        yield WatchedPair(watched)


class Cluster:
    """Three primaries, of which the first has nearly all slots, and a replica."""

    def __init__(self, primary: "subprocess.Popen[bytes]", port: int, replica: int) -> None:
        self.url = f"redis+cluster://127.0.0.1:{port}"
        self._process = primary
        self._primary = port
        self._replica = replica

    async def cut_replication(self) -> None:
        """Keep the replica from hearing of what is written to its primary from now on."""
        async with redis.Redis(port=self._primary) as primary:
            await primary.execute_command("ACL SETUSER default -psync -sync")  # it may not come back
            await primary.execute_command("CLIENT KILL TYPE replica")

    async def fail_over(self) -> None:
        """Kill the first primary and return once the replica has taken its place."""
        self._process.kill()
        self._process.wait()
        async with redis.Redis(port=self._replica) as replica, asyncio.timeout(20):
            while (await replica.info("replication"))["role"] != "master":
                await asyncio.sleep(0.05)


@asynccontextmanager
async def cluster_with_replica(folder: Path) -> AsyncIterator[Cluster]:
    """Yield a started cluster."""
    ports = free_ports(4)
    processes = [start_node(port, folder / str(port)) for port in ports]
    nodes = [redis.Redis(port=port) for port in ports]
    try:
        await asyncio.gather(*(_answers(node) for node in nodes))
        await _join(nodes, ports)
        yield Cluster(processes[0], ports[0], ports[-1])
    finally:
        for node in nodes:
            await node.aclose()
        for process in processes:
            process.kill()
            process.wait()


async def _join(nodes: "list[redis.Redis]", ports: list[int]) -> None:
    """Give the first three nodes their slots, let all know one another, and make the last the first one's replica."""
    for number, slots in enumerate(((0, SLOTS - 3), (SLOTS - 2, SLOTS - 2), (SLOTS - 1, SLOTS - 1))):
        await nodes[number].execute_command("CLUSTER ADDSLOTSRANGE", *slots)
        await nodes[number].execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
    for node in nodes[1:]:
        await node.execute_command("CLUSTER MEET", "127.0.0.1", ports[0])
    name = await nodes[0].execute_command("CLUSTER MYID")
    await _replicating(nodes[-1], name.decode() if isinstance(name, bytes) else str(name))
    for node in nodes:
        await _knows_all(node, len(nodes))


async def _knows_all(node: "redis.Redis", count: int) -> None:
    async with asyncio.timeout(20):
        while True:
            info = str(await node.execute_command("CLUSTER INFO"))
            if re.search(r"cluster_state\W+ok\b", info) and re.search(rf"cluster_known_nodes\W+{count}\b", info):
                return
            await asyncio.sleep(0.05)


async def _replicating(replica: "redis.Redis", primary: str) -> None:
    """Make a node the replica of a primary, once it has heard of it, and wait until it follows."""
    async with asyncio.timeout(20):
        while True:
            try:
                await replica.execute_command("CLUSTER REPLICATE", primary)
                break
            except redis.ResponseError:  # unknown node
                await asyncio.sleep(0.1)
        while (await replica.info("replication")).get("master_link_status") != "up":
            await asyncio.sleep(0.05)
