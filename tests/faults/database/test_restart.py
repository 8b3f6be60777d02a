"""PostgreSQL is restarted under three replicas that are under load, as it is for a minor upgrade."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from support.own_postgres import OwnPostgres
from support.served import Served, start
from support.stubs import Stubs, open_stubs
from support.timeline import Timeline, accepts_writes, codes, seconds_to_deliver, steady
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate

UNAVAILABLE_FOR = 3.8  # seconds
RECOVERY = 2.0


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[OwnPostgres]:
    """An engine of the test's own."""
    own = OwnPostgres(tmp_path / "postgres")
    own.start()
    yield own
    own.stop()


@pytest.fixture
async def replicas(own_postgres: OwnPostgres, engines: EmbeddedEngines, tmp_path: Path) -> AsyncIterator[list[Stubs]]:
    """Three servers as they are shipped, on one database."""
    await migrate(own_postgres.dsn, read_migrations(), baseline=True)
    settings = {"DATABASE_URL": own_postgres.dsn, "REDIS_URL": engines.redis_url, "ENABLE_RATE_LIMITING": "false"}
    servers: list[Served] = []
    try:
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            with (folder / "said").open("w") as log:
                servers.append(await asyncio.to_thread(start, folder, log=log, **settings))
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(open_stubs(server.grpc)) for server in servers]
    finally:
        for server in servers:
            server.interrupt()
            assert server.process.stdout
            server.process.stdout.close()


@pytest.mark.slow
async def test_restart_costs_only_its_own_time(own_postgres: OwnPostgres, replicas: list[Stubs]) -> None:
    """Calls fail while it is gone, all by UNAVAILABLE; two seconds after it takes changes all serve, and mail flows."""
    timeline = Timeline()
    async with steady(timeline, replicas):
        await asyncio.sleep(2)
        stopped = time.monotonic()
        await asyncio.to_thread(own_postgres.stop)
        await asyncio.sleep(UNAVAILABLE_FOR - (time.monotonic() - stopped))
        accepting = asyncio.create_task(accepts_writes(own_postgres.dsn))
        own_postgres.start()
        back = await accepting
        delivered = await asyncio.gather(*(seconds_to_deliver(client, own_postgres.dsn) for client in replicas))
        async with asyncio.timeout(90):
            while time.monotonic() - back < 6 or timeline.failures(time.monotonic() - 3):
                await asyncio.sleep(0.1)
    failed = codes(timeline.failures())
    print(f"\n{len(timeline.calls)} calls, {failed.total()} failed {dict(failed)}, away {back - stopped:.1f} s")
    print(f"last failure {timeline.last_failure(back):.2f} s after, emails {[round(each, 2) for each in delivered]}")
    assert not timeline.failures(until=stopped)
    assert {code for code, _ in failed} == {"UNAVAILABLE"}
    assert all(call.says_when for call in timeline.failures())
    assert timeline.last_failure(back) <= RECOVERY
    assert max(delivered) <= RECOVERY
