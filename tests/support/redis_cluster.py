"""A real Redis Cluster of three nodes, from the embedded Valkey's program, on loopback ports."""

import asyncio
import itertools
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import redis.asyncio as redis

from support.valkey import program

SLOTS = 16384
BUS = 10_000


def free_ports(count: int) -> list[int]:
    """Return ports that are free, as are their cluster bus ports, 10000 above.

    Both are below those that the system gives to outgoing connections, which might take one in the meantime.
    """
    first = 12_000 + os.getpid() % 900 * 10
    free = (port for port in range(first, 22_000) if _is_free(port) and _is_free(port + BUS))
    return list(itertools.islice(free, count))


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def start_node(port: int, folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> "subprocess.Popen[bytes]":
    """Start one node, with more options."""
    folder.mkdir()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "cluster-enabled": "yes",
        "cluster-node-timeout": "2000",
        "dir": str(folder),
        "save": "",
        "appendonly": "no",
        "cluster-port": str(port + BUS),
        **more,
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen([program(), *arguments], stdout=subprocess.DEVNULL)


@asynccontextmanager
async def redis_cluster(folder: Path, **options: str) -> AsyncIterator[str]:
    """Yield the URL of a cluster whose three nodes share all slots; dashes in options are underscores."""
    more = {name.replace("_", "-"): value for name, value in options.items()}
    ports = free_ports(3)
    processes = [start_node(port, folder / str(port), more) for port in ports]
    nodes = [redis.Redis(port=port) for port in ports]
    try:
        await asyncio.gather(*(_answers(node) for node in nodes))
        await _join(nodes, ports)
        yield f"redis+cluster://127.0.0.1:{ports[0]}"
    finally:
        for node in nodes:
            await node.aclose()
        for process in processes:
            process.kill()
            process.wait()


async def cluster_ports(url: str) -> list[int]:
    """Return the ports of the nodes of the cluster at `url`."""
    async with redis.Redis(port=int(url.rpartition(":")[2])) as node:
        nodes = await node.execute_command("CLUSTER NODES")
    return sorted(int(address.partition("@")[0].rpartition(":")[2]) for address in nodes)


async def _answers(node: "redis.Redis") -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await node.ping()
            except redis.ConnectionError:
                await asyncio.sleep(0.05)
            else:
                return


async def _join(nodes: "list[redis.Redis]", ports: list[int]) -> None:
    share = -(-SLOTS // len(nodes))
    for number, node in enumerate(nodes):
        last = min((number + 1) * share, SLOTS) - 1
        await node.execute_command("CLUSTER ADDSLOTSRANGE", number * share, last)
        await node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        if number:
            await node.execute_command("CLUSTER MEET", "127.0.0.1", ports[0])
    for node in nodes:
        await _ready(node)


async def _ready(node: "redis.Redis") -> None:
    async with asyncio.timeout(20):
        while True:
            info = await node.execute_command("CLUSTER INFO")
            state = (
                info if isinstance(info, dict) else dict(line.split(":") for line in str(info).split() if ":" in line)
            )
            if state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "3":
                return
            await asyncio.sleep(0.05)
