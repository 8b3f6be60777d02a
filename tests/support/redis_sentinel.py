"""A real primary, its replica and the sentinel that watches them, from the embedded Valkey's program."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import redis.asyncio as redis

from support.redis_cluster import free_ports
from support.valkey import program

SERVICE = "wingman"
PASSWORD, SENTINEL_PASSWORD = "p:w/d@1", "sentinel-password"


class Watched:
    """The servers, and the URL by which their sentinel names the primary."""

    def __init__(self, folder: Path, options: dict[str, str] | None = None) -> None:
        self.ports = free_ports(3)
        primary, replica, sentinel = self.ports
        self.url = (
            f"redis+sentinel://:p%3Aw%2Fd%401@127.0.0.1:{sentinel}/{SERVICE}?sentinel_password={SENTINEL_PASSWORD}"
        )
        common = {
            "bind": "127.0.0.1",
            "save": "",
            "requirepass": PASSWORD,
            "masterauth": PASSWORD,
            "repl-diskless-sync-delay": "0",
            **(options or {}),
        }
        self.primary = start(folder, primary, common)
        self.replica = start(folder, replica, common | {"replicaof": f"127.0.0.1 {primary}"})
        self.sentinel = start_sentinel(folder, sentinel, primary)

    async def until(self, port: int, password: str, section: str, expected: dict[str, Any]) -> None:
        """Wait until a server says of itself what is expected."""
        client = redis.Redis(port=port, password=password, decode_responses=True)
        async with client, asyncio.timeout(20):
            while True:
                try:
                    said = await client.info(section)
                except redis.ConnectionError:
                    said = {}
                if expected.items() <= said.items():
                    return
                await asyncio.sleep(0.05)

    async def ready(self) -> None:
        """Wait until the replica follows, and the sentinel knows of it."""
        _, replica, sentinel = self.ports
        await self.until(replica, PASSWORD, "replication", {"role": "slave", "master_link_status": "up"})
        client = redis.Redis(port=sentinel, password=SENTINEL_PASSWORD)
        async with client, asyncio.timeout(20):
            while not await client.sentinel_slaves(SERVICE):
                await asyncio.sleep(0.05)

    async def fail_over_as_planned(self) -> None:
        """Ask the sentinel to make the replica the primary, and return when it announces that it is."""
        client = redis.Redis(port=self.ports[2], password=SENTINEL_PASSWORD)
        async with client, client.pubsub() as heard, asyncio.timeout(20):
            await heard.subscribe("+switch-master")
            await _ask_for_failover(client)
            while True:
                message = await heard.get_message(ignore_subscribe_messages=True, timeout=1)
                if message:
                    return

    async def fail_over(self) -> None:
        """Kill the primary and wait until the replica has taken its place."""
        self.primary.kill()
        self.primary.wait()
        await self.until(self.ports[1], PASSWORD, "replication", {"role": "master"})


async def _ask_for_failover(sentinel: "redis.Redis") -> None:
    while True:
        try:
            await sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)
        except redis.ResponseError as error:
            if "NOGOODSLAVE" not in str(error):  # it has not looked at the replica yet
                raise
            await asyncio.sleep(0.1)
        else:
            return


def start(folder: Path, port: int, options: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start one server."""
    home = folder / str(port)
    home.mkdir()
    given = options | {"port": str(port), "dir": str(home)}
    arguments = [
        word for name, value in given.items() for word in (f"--{name}", *(value.split(" ") if value else [""]))
    ]
    return subprocess.Popen([program(), *arguments], stdout=subprocess.DEVNULL)


def start_sentinel(folder: Path, port: int, primary: int) -> "subprocess.Popen[bytes]":
    """Start one sentinel; it keeps what it learns in its configuration file."""
    file = folder / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nrequirepass {SENTINEL_PASSWORD}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 1\n"
        f"sentinel auth-pass {SERVICE} {PASSWORD}\n"
        f"sentinel down-after-milliseconds {SERVICE} 2000\n"
        f"sentinel failover-timeout {SERVICE} 4000\n"
    )
    return subprocess.Popen([program(), file, "--sentinel"], stdout=subprocess.DEVNULL)


@asynccontextmanager
async def watched_servers(folder: Path, **options: str) -> AsyncIterator[Watched]:
    """Yield servers started with such options, their dashes underscores, and kill them in the end."""
    watched = Watched(folder, {name.replace("_", "-"): value for name, value in options.items()})
    try:
        await watched.ready()
        yield watched
    finally:
        for process in (watched.sentinel, watched.replica, watched.primary):
            process.kill()
            process.wait()
