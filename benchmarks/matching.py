"""What ListCandidates and UpsertProfile cost as the number of people grows, beside `select 1`, in one run.

    python benchmarks/matching.py [--people 10000 100000] [--calls 400]

Starts engines of its own. People are those of `wingmanmatch seed`, in cities of Zipf's sizes, spread around each by
some eight miles. Half of the callers are drawn from everybody, half from the largest city; one call at a time, the
kinds in turn, so that whatever else the machine does meets all of them.
"""

import argparse
import asyncio
import io
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import asyncpg
import grpc
import uvloop

from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch_server.bootstrap import open_application
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate
from wingmanmatch_server.drivers.postgres import PostgresDatabase, open_postgres
from wingmanmatch_server.seeding import seed_people
from wingmanmatch_server.serving import listening
from wingmanmatch_server.settings import Settings

SEED = 1


class Caller(NamedTuple):
    """Somebody who calls, and where they are."""

    user_id: str
    latitude: float
    longitude: float


Kinds = dict[str, Callable[[Caller], Awaitable[object]]]
CALLERS = """
select user_id::text, latitude, longitude from public.user_locations where user_id::text in (
(select user_id::text from public.match_pool where active order by random() limit 200)
union all
(select user_id::text from public.match_pool where active and map_point <@ (
    select box(map_point - point(0.3, 0.3), map_point + point(0.3, 0.3)) from public.match_pool m, lateral (
        select count(*) from public.match_pool o where o.map_point <@
            box(m.map_point - point(0.1, 0.1), m.map_point + point(0.1, 0.1))) n
    where m.user_id in (select user_id from public.match_pool order by user_id limit 300) order by n.count desc limit 1)
order by random() limit 200))
"""


async def settle(dsn: str, people: int) -> list[Caller]:
    """Fill the database and return who will call."""
    await seed_people(dsn, people, seed=SEED, tell=lambda _count: None)
    connection = await asyncpg.connect(dsn, command_timeout=900)
    try:
        await connection.execute("vacuum analyze")
        await connection.execute("select setseed(0.5)")
        return [Caller(*row) for row in await connection.fetch(CALLERS)]
    finally:
        await connection.close()


async def measure(kinds: Kinds, callers: list[Caller], calls: int) -> dict[str, list[float]]:
    """Return the milliseconds of each call, by kind; the first tenth warms up and is left out."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(calls + calls // 10):
        caller = random.choice(callers)
        for kind, call in kinds.items():
            started = time.perf_counter()
            await call(caller)
            if turn >= calls // 10:
                times[kind].append((time.perf_counter() - started) * 1000)
    return times


def kinds_of(connection: asyncpg.Connection, database: PostgresDatabase, channel: grpc.aio.Channel) -> Kinds:
    """Return what is measured, the limit first."""
    stub = matching_service_pb2_grpc.MatchingServiceStub(channel)
    return {
        "select 1": lambda _: connection.fetchval("select 1"),
        "function": lambda caller: database.call("list_candidates", p_user_id=caller.user_id, p_radius_miles=25.0),
        "ListCandidates": lambda caller: stub.ListCandidates(
            matching_service_pb2.ListCandidatesRequest(user_id=caller.user_id), timeout=10
        ),
        "UpsertProfile": lambda caller: stub.UpsertProfile(
            matching_service_pb2.UpsertProfileRequest(profile=moving(caller)), timeout=10
        ),
    }


def moving(caller: Caller) -> matching_pb2.Profile:
    """Return the profile of somebody who is some half a mile from home."""
    north, east = random.uniform(-0.01, 0.01), random.uniform(-0.01, 0.01)
    return matching_pb2.Profile(
        user_id=caller.user_id,
        email="somebody@example.org",
        first_name="Sam",
        experience_level=matching_pb2.EXPERIENCE_LEVEL_INTERMEDIATE,
        confidence_archetype=matching_pb2.CONFIDENCE_ARCHETYPE_SCHOLAR,
        location={"latitude": caller.latitude + north, "longitude": caller.longitude + east},
    )


async def bench(dsn: str, redis_url: str, people: int, calls: int, folder: Path) -> None:
    """Print one row for a number of people."""
    await migrate(dsn, read_migrations(), baseline=True)
    callers = await settle(dsn, people)
    settings = Settings(_env_file=None, data_dir=folder, enable_rate_limiting=False)
    connection = await asyncpg.connect(dsn)
    async with (
        open_postgres(dsn) as database,
        open_application(settings, dsn, redis_url, io.BytesIO()) as application,
        listening(application, "127.0.0.1:0") as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        times = await measure(kinds_of(connection, database, channel), callers, calls)
    await connection.close()
    for kind, found in times.items():
        cuts = statistics.quantiles(found, n=100)
        print(f"  {people:>9,}  {kind:<16} p50 {cuts[49]:7.3f} ms   p99 {cuts[98]:7.3f} ms", flush=True)


def main() -> None:
    """Run one row after the other, each on engines of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--calls", type=int, default=400)
    options = parser.parse_args()
    for people in options.people:
        with tempfile.TemporaryDirectory() as folder, EmbeddedEngines(Path(folder) / "data") as engines:
            engines.wait()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                addresses = engines.postgres_dsn, engines.redis_url
                runner.run(bench(*addresses, people, options.calls, Path(folder)))


if __name__ == "__main__":
    main()
