"""What a call of the database costs by each way, beside a bare prepared `select 1` on a held connection, in one run.

    python benchmarks/transports.py [--rounds 20]

PostgreSQL and the REST interface of the tests run in processes of their own: the CPU is the caller's alone. Machines
are noisy, so short bursts take turns and the figures are medians; read the ratios. REST also pays the network, and a
hosted project's gateway and TLS, which are not here.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import uvloop
from supabase import AsyncClientOptions, acreate_client

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.postgrest import ANONYMOUS_KEY, SERVICE_KEY, serving_rest
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.drivers.supabase import SupabaseDatabase, keep_response, open_supabase

CALLS = {1: 100, 16: 320}  # calls a burst, by how many are in flight
BARE = "select 1, prepared, held connection"

Call = Callable[[], Awaitable[object]]


async def serve(dsn: str) -> None:
    """Serve REST until standard input ends; print the address."""
    async with serving_rest(dsn) as rest:
        print(rest.url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def burst(call: Call, in_flight: int) -> tuple[float, float]:
    """Return the microseconds of CPU and of time that a call of one burst took."""
    each = CALLS[in_flight] // in_flight

    async def work() -> None:
        for _ in range(each):
            await call()

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    calls = each * in_flight
    return (time.process_time() - cpu) / calls * 1e6, (time.perf_counter() - started) / each * 1e6


async def compare(ways: dict[str, Call], in_flight: int, rounds: int) -> None:
    """Print a table of one number of calls in flight."""
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(rounds + 2):
        for way in sorted(ways, reverse=turn % 2 == 0):
            figures = await burst(ways[way], in_flight)
            if turn >= 2:  # the first rounds warm up
                taken[way].append(figures)
    medians = {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in taken.items()}
    print(f"{in_flight} in flight{'CPU of a call':>44}{'latency':>26}")
    bare = medians[BARE]
    for way in ways:
        cpu, latency = medians[way]
        print(f"  {way:<40}{cpu:6.0f} us {cpu / bare[0]:6.1f}x{latency:12.0f} us {latency / bare[1]:6.1f}x")


@asynccontextmanager
async def on_httpx(url: str) -> AsyncIterator[SupabaseDatabase]:
    """Open the REST driver on httpx's own transport."""
    async with httpx.AsyncClient(
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=20, keepalive_expiry=30),
        event_hooks={"response": [keep_response]},
    ) as http:
        options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
        client = await acreate_client(url, SERVICE_KEY, options=options)
        yield SupabaseDatabase(client, client)


async def run(dsn: str, url: str, rounds: int) -> None:
    """Open every way and compare them."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        connection = await asyncpg.connect(dsn)
        stack.push_async_callback(connection.close)
        prepared = await connection.prepare("select 1")
        direct = await enter(open_postgres(dsn))
        pooled = await enter(open_postgres(f"{dsn}&pooler=transaction"))
        rest = await enter(open_supabase(url, SERVICE_KEY, ANONYMOUS_KEY))
        plain = await enter(on_httpx(url))
        ways: dict[str, Call] = {
            BARE: prepared.fetchval,
            "direct: health()": lambda: direct.call("health"),
            "direct, as behind a transaction pooler": lambda: pooled.call("health"),
            "REST: health()": lambda: rest.call("health"),
            "REST on httpx's own transport": lambda: plain.call("health"),
        }
        await compare(ways, 1, rounds)
        await compare(ways | {BARE: _one_at_a_time(prepared)}, 16, rounds)


def _one_at_a_time(prepared: asyncpg.prepared_stmt.PreparedStatement) -> Call:
    turn = asyncio.Lock()

    async def call() -> None:
        async with turn:
            await prepared.fetchval()

    return call


def main() -> None:
    """Start the engines and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--serve", metavar="DSN", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.serve:
            runner.run(serve(options.serve))
            return
        with tempfile.TemporaryDirectory() as folder, EmbeddedEngines(Path(folder), valkey=False) as engines:
            engines.wait()
            runner.run(migrate(engines.postgres_dsn, read_migrations(), baseline=True))
            command = [sys.executable, __file__, "--serve", engines.postgres_dsn]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                runner.run(run(engines.postgres_dsn, process.stdout.readline().strip(), options.rounds))
                process.stdin.close()


if __name__ == "__main__":
    main()
