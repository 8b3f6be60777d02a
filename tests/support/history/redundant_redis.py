"""Redis with replicas, watched by a sentinel or as a cluster, whose replication can be cut and whose primary killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio as redis

from support.redis_cluster import _answers, free_ports, redis_cluster, start_node
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
    """Three primaries, of which the first has a replica."""

    def __init__(self, url: str, replica: int) -> None:
        self.url = url
        self._primary = int(url.rpartition(":")[2])
        self._replica = replica

    async def cut_replication(self) -> None:
        """Keep the replica from hearing of what is written to its primary from now on."""
        async with redis.Redis(port=self._primary) as primary:
            await primary.execute_command("ACL SETUSER default -psync -sync")  # it may not come back
            await primary.execute_command("CLIENT KILL TYPE replica")

    async def fail_over(self) -> None:
        """Kill the first primary and return once the replica has taken its place."""
        async with redis.Redis(port=self._primary) as primary:
            info = await primary.info("server")
        os.kill(int(info["process_id"]), signal.SIGKILL)
        async with redis.Redis(port=self._replica) as replica, asyncio.timeout(20):
            while (await replica.info("replication"))["role"] != "master":
                await asyncio.sleep(0.05)


@asynccontextmanager
async def cluster_with_replica(folder: Path) -> AsyncIterator[Cluster]:
    """Yield a started cluster."""
    async with redis_cluster(folder) as url:
        first = int(url.rpartition(":")[2])
        (port,) = free_ports(1)
        process = start_node(port, folder / str(port))
        try:
            async with redis.Redis(port=first) as primary, redis.Redis(port=port) as replica:
                await _answers(replica)
                await replica.execute_command("CLUSTER MEET", "127.0.0.1", first)
                name = await primary.execute_command("CLUSTER MYID")
                await _replicating(replica, name.decode() if isinstance(name, bytes) else str(name))
            yield Cluster(url, port)
        finally:
            process.kill()
            process.wait()


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
