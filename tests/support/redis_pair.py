"""A real primary and its replica behind one address, whose connections stay where they are when that moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import redis.asyncio as redis

from support.redis_cluster import free_ports
from support.redis_sentinel import start
from support.session_load import eventually
from support.tcp_proxy import TcpProxy, proxied

OPTIONS = {"bind": "127.0.0.1", "save": "", "repl-diskless-sync-delay": "0"}


class RedisPair(NamedTuple):
    """Two servers, one of which follows the other, and the address that leads to the primary."""

    first: "redis.Redis"
    second: "redis.Redis"
    ports: tuple[int, int]
    address: TcpProxy

    @property
    def url(self) -> str:
        """Where clients reach the primary."""
        return f"redis://127.0.0.1:{self.address.port}"

    async def primary_pid(self) -> int:
        """Return the process to which the address leads."""
        primary = self.first if self.address.target == self.ports[0] else self.second
        return int((await primary.info("server"))["process_id"])

    async def swap(self) -> None:
        """Make the second the primary, and the first its replica."""
        await self.first.set("marker", "", px=1)
        assert await self.first.wait(1, 5000) == 1  # the second has what was acknowledged before
        await self.second.execute_command("REPLICAOF", "NO", "ONE")
        await self.first.execute_command("REPLICAOF", "127.0.0.1", self.ports[1])

    def move_address(self) -> None:
        """Lead new connections to the second."""
        self.address.target = self.ports[1]


@asynccontextmanager
async def redis_pair(folder: Path, **options: str) -> AsyncIterator[RedisPair]:
    """Yield two servers in step, started with more options."""
    first, second = free_ports(2)
    common = OPTIONS | options
    processes = [
        start(folder, first, common),
        start(folder, second, common | {"replicaof": f"127.0.0.1 {first}"}),
    ]
    clients = redis.Redis(port=first), redis.Redis(port=second)
    try:
        await eventually(partial(_in_step, clients[1]), 20)
        async with proxied(first) as address:
            yield RedisPair(*clients, (first, second), address)
    finally:
        for client, process in zip(clients, processes, strict=True):
            await client.aclose()
            process.kill()
            process.wait()


async def _in_step(replica: "redis.Redis") -> bool:
    try:
        return (await replica.info("replication"))["master_link_status"] == "up"
    except redis.ConnectionError:
        return False
