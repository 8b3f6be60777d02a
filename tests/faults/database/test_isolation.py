"""One person's locked row, and a few slow queries: the trouble of those who ask for them, and of nobody else."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.database_troubles import locked, slow_lists
from support.databases import execute
from support.own_postgres import OwnPostgres
from support.requests import join
from support.server import serving_application
from support.stubs import Stubs
from support.timeline import Timeline, codes, p99, steady
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.system.v1 import system_pb2, system_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate

LOCKED, SLOW = "locked", "slow"
# What docs/supabase.md asks for: over REST it is the role that says how long a statement may take.
ROLE_LIMITS = """
alter role service_role set lock_timeout = '1500ms';
alter role service_role set statement_timeout = '4s';
"""


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[OwnPostgres]:
    """An engine of the test's own, since it changes a role."""
    own = OwnPostgres(tmp_path / "postgres")
    own.start()
    yield own
    own.stop()


@pytest.fixture
async def dsn(own_postgres: OwnPostgres) -> str:
    """A migrated database."""
    await migrate(own_postgres.dsn, read_migrations(), baseline=True)
    await execute(own_postgres.dsn, ROLE_LIMITS)
    return own_postgres.dsn


@pytest.fixture
async def client(dsn: str, engines: EmbeddedEngines, tmp_path: Path, transport: str) -> AsyncIterator[Stubs]:
    """A server as it is shipped, over each transport."""
    async with serving_application(
        dsn, engines.redis_url, tmp_path / "server", transport=transport, enable_rate_limiting=False
    ) as client:
        yield client


async def is_closed(client: Stubs) -> bool:
    """Return whether both circuit breakers of the database are closed and have counted nothing."""
    report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=5)
    breakers = [each for each in report.circuit_breakers if each.name.startswith("database")]
    return all(each.state == system_pb2.CIRCUIT_BREAKER_STATE_CLOSED and not each.failure_count for each in breakers)


@pytest.mark.slow
async def test_locked_row_is_one_persons_trouble(client: Stubs, dsn: str) -> None:
    """For 15 seconds 25 callers change one locked person: each gets CONFLICT in its time, and no other call fails."""
    person = await join(client)
    write = matching_service_pb2.UpsertProfileRequest(profile=person)
    timeline = Timeline()

    async def insist(until: float) -> None:
        while time.monotonic() < until:
            await timeline.call(LOCKED, client.matching.UpsertProfile, write)

    async with steady(timeline, [client], callers=8):
        async with locked(dsn, person.user_id):
            until = time.monotonic() + 15
            await asyncio.gather(*(insist(until) for _ in range(25)))
            closed = await is_closed(client)
        await asyncio.sleep(1)
    about, others = timeline.of(LOCKED), [call for call in timeline.calls if call.kind != LOCKED]
    print(f"\nabout the person: {dict(codes(about))}, at most {max(call.seconds for call in about):.2f} s")
    print(f"others: {dict(codes(others))}, at most {max(call.seconds for call in others):.2f} s")
    assert set(codes(about)) == {("ABORTED", "CONFLICT")}
    assert max(call.seconds for call in about) < 5
    assert set(codes(others)) == {("OK", "")}
    assert closed


@pytest.mark.parametrize("transport", ["postgres"])
async def test_short_patience_is_told_in_time(client: Stubs, dsn: str) -> None:
    """A caller with little time has its answer before that is over, though a lock may be waited for much longer."""
    person = await join(client)
    write = matching_service_pb2.UpsertProfileRequest(profile=person)
    timeline = Timeline()
    async with locked(dsn, person.user_id):
        await timeline.call(LOCKED, client.matching.UpsertProfile, write, patience=1.0)
    assert [(call.code, call.reason) for call in timeline.calls] == [("ABORTED", "CONFLICT")]
    assert timeline.calls[0].seconds < 1


@pytest.mark.slow
async def test_slow_queries_hold_up_nobody(client: Stubs, dsn: str) -> None:
    """Eight slow queries at a time end by DEADLINE_EXCEEDED, and of the others 99 of 100 end in thrice their time."""
    timeline = Timeline()
    people = [(await join(client)).user_id for _ in range(8)]
    async with steady(timeline, [client], callers=4):
        await asyncio.sleep(6)
        calm_until = time.monotonic()
        requests = [matching_service_pb2.ListMatchesRequest(user_id=user_id) for user_id in people]

        async def ask(request: matching_service_pb2.ListMatchesRequest) -> None:
            while time.monotonic() < calm_until + 12:
                await timeline.call(SLOW, client.matching.ListMatches, request, patience=10)

        async with slow_lists(dsn):
            await asyncio.gather(*(ask(request) for request in requests))
        closed = await is_closed(client)
    slow, others = timeline.of(SLOW), [call for call in timeline.calls if call.kind != SLOW]
    calm, beside = (
        [call for call in others if call.at < calm_until],
        [call for call in others if call.at >= calm_until],
    )
    print(f"\nslow: {dict(codes(slow))}, others: {dict(codes(beside))}")
    print(f"p99 calm {p99(calm) * 1000:.1f} ms of {len(calm)}, beside {p99(beside) * 1000:.1f} ms of {len(beside)}")
    assert set(codes(slow)) == {("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")}
    assert set(codes(others)) == {("OK", "")}
    assert p99(beside) <= 3 * p99(calm)
    assert closed
