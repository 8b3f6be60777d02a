"""What open streams of WatchMatches cost, beside bare streams, and how late events are, beside a bare LISTEN.

    python benchmarks/watch.py [--streams 2000] [--events 300] [--idle 10]

Starts engines and a server of its own. Memory is what the server's resident set grows by per stream, beside the same
number of health Watch streams, which hold nothing but the stream itself. Each event is timed twice from the statement
that causes it: until a connection that listens for the database's NOTIFY has it, and until a client of one of the many
streams does.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from wingmanmatch.matching.v1 import matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate
from wingmanmatch_server.seeding import people, seed_people

SEED = 1
STREAMS_A_CHANNEL = 100
SETTLE_SECONDS = 2.0
Open = Callable[[grpc.aio.Channel, int], Any]


@contextmanager
def serving(engines: EmbeddedEngines, folder: Path) -> Iterator[tuple[int, str]]:
    """Run a server and yield its process id and address."""
    environment = os.environ | {
        "DATABASE_URL": engines.postgres_dsn,
        "REDIS_URL": engines.redis_url,
        "DATA_DIR": str(folder / "server"),
        "GRPC_LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "ADMIN_LISTEN": "127.0.0.1:0",
        "ENABLE_RATE_LIMITING": "false",
    }
    command = [sys.executable, "-m", "wingmanmatch_server", "serve"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout
        said = ""
        while not (found := re.search(r"gRPC +(\S+)", said)):
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            said += line
        try:
            yield process.pid, found[1]
        finally:
            process.terminate()


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def processor_seconds(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def streams(address: str, count: int, open_stream: Open) -> AsyncIterator[list[Any]]:
    """Open so many streams, wait for the first message of each, and yield them."""
    async with AsyncExitStack() as stack:
        calls: list[Any] = []
        for start in range(0, count, STREAMS_A_CHANNEL):
            # Channels of the same options would share one connection.
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
            opened = [open_stream(channel, number) for number in range(start, min(count, start + STREAMS_A_CHANNEL))]
            await asyncio.gather(*(call.read() for call in opened))
            calls += opened
        yield calls
        for call in calls:
            call.cancel()


def bare(channel: grpc.aio.Channel, _number: int) -> Any:
    """Open a stream that holds nothing."""
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())


def watching(user_ids: list[str]) -> Open:
    """Return what opens the stream of one of these people."""

    def open_stream(channel: grpc.aio.Channel, number: int) -> Any:
        request = matching_service_pb2.WatchMatchesRequest(user_id=user_ids[number])
        return matching_service_pb2_grpc.MatchingServiceStub(channel).WatchMatches(request)

    return open_stream


async def bytes_a_stream(pid: int, address: str, count: int, open_stream: Open) -> float:
    """Return by how much the server grows per open stream."""
    async with streams(address, STREAMS_A_CHANNEL, open_stream):
        pass
    before = resident(pid)
    async with streams(address, count, open_stream):
        await asyncio.sleep(SETTLE_SECONDS)
        return (resident(pid) - before) / count


async def lateness(sql: asyncpg.Connection, call: Any, pair: list[str], events: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds from each statement until its NOTIFY, and until its event at the stream."""
    heard = asyncio.Event()
    listener = await asyncpg.connect(**CONNECT)
    await listener.add_listener("match_events", lambda *about: heard.set() if about[-1] == pair[0] else None)
    match_id = await sql.fetchval(INVITE, *pair)
    await call.read()
    notified, delivered = [], []
    for turn in range(events):
        heard.clear()
        at_stream = asyncio.ensure_future(timed(call.read()))
        at_listener = asyncio.ensure_future(timed(heard.wait()))
        started = time.perf_counter()
        await sql.execute(CHANGE, match_id, ("CANCELLED", "EXPIRED")[turn % 2])
        notified.append((await at_listener - started) * 1000)
        delivered.append((await at_stream - started) * 1000)
        await asyncio.sleep(0.005)
    await listener.close()
    return notified, delivered


async def timed(awaitable: Any) -> float:
    """Return when something happened."""
    await awaitable
    return time.perf_counter()


INVITE = """
insert into matches (requester_id, invitee_id, venue_suggestion, message) values ($1::uuid, $2::uuid, '', '')
returning id
"""
CHANGE = "update matches set state = $2 where id = $1"
CONNECT: dict[str, Any] = {}


async def bench(engines: EmbeddedEngines, folder: Path, count: int, events: int, idle: float) -> None:
    """Print what was measured."""
    CONNECT["dsn"] = engines.postgres_dsn
    await migrate(engines.postgres_dsn, read_migrations(), baseline=True)
    await seed_people(engines.postgres_dsn, count + 1, seed=SEED, tell=lambda _count: None)
    user_ids = [str(person[0]) for person in islice(people(SEED), count + 1)]
    sql = await asyncpg.connect(**CONNECT)
    with serving(engines, folder) as (pid, address):
        bare_bytes = await bytes_a_stream(pid, address, count, bare)
    with serving(engines, folder) as (pid, address):
        own_bytes = await bytes_a_stream(pid, address, count, watching(user_ids))
        async with streams(address, count, watching(user_ids)) as calls:
            before = processor_seconds(pid)
            await asyncio.sleep(idle)
            busy = (processor_seconds(pid) - before) / idle
            notified, delivered = await lateness(sql, calls[0], [user_ids[0], user_ids[count]], events)
    await sql.close()
    print(
        f"  {count:,} streams   bare {bare_bytes / 1024:5.1f} KiB   WatchMatches {own_bytes / 1024:5.1f} KiB each",
        end="",
    )
    print(f"   {own_bytes / bare_bytes:.2f} times")
    print(f"  idle           {busy:.1%} of a processor")
    for name, cut in (("p50", 49), ("p99", 98)):
        listen, stream = (statistics.quantiles(times, n=100)[cut] for times in (notified, delivered))
        print(f"  event {name}      LISTEN {listen:6.2f} ms   client {stream:6.2f} ms   {stream / listen:.2f} times")


def main() -> None:
    """Run it on engines of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--idle", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedEngines(Path(folder) / "data") as engines:
        engines.wait()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bench(engines, Path(folder), options.streams, options.events, options.idle))


if __name__ == "__main__":
    main()
