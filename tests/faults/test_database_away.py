"""The whole server while its PostgreSQL is restarted, killed, stopped, cut off or full, under callers that go on.

After each fault every acknowledged change is there once, and the server, never restarted, is as it was before.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from support.databases import execute
from support.mail_load import MailLoad, assert_each_once, mail_load
from support.own_postgres import OwnPostgres
from support.requests import TIMEOUT
from support.resend_server import KEY, ResendServer, resend_server
from support.server import serving_application
from support.stubs import Stubs
from wingmanmatch.system.v1 import system_pb2, system_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate

pytestmark = pytest.mark.timeout(180)

CUT = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> {mine}"
HEALTHY, UNHEALTHY = system_pb2.SYSTEM_STATUS_HEALTHY, system_pb2.SYSTEM_STATUS_UNHEALTHY


@dataclass
class Site:
    """A server, what it depends on, and those who call it."""

    postgres: OwnPostgres
    client: Stubs
    resend: ResendServer
    load: MailLoad

    async def becomes(self, word: int) -> None:
        """Wait until the server says that it is so."""
        async with asyncio.timeout(30):
            while await self._status() != word:
                await asyncio.sleep(0.05)

    async def _status(self) -> int:
        report = await self.client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
        return int(report.status)


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    """An engine of the module's own."""
    own = OwnPostgres(tmp_path_factory.mktemp("postgres"))
    own.start()
    yield own
    own.stop()


@pytest.fixture
async def site(own_postgres: OwnPostgres, engines: EmbeddedEngines, tmp_path: Path) -> AsyncIterator[Site]:
    """A server under load, as it is shipped; in the end each mail must have gone out once."""
    await migrate(own_postgres.dsn, read_migrations(), baseline=True)
    await execute(own_postgres.dsn, "truncate notifications cascade")
    async with resend_server() as resend:
        settings = {"enable_rate_limiting": False, "resend_api_key": KEY, "resend_api_url": resend.url}
        async with serving_application(own_postgres.dsn, engines.redis_url, tmp_path, **settings) as client:
            async with mail_load(client.notification) as load:
                site = Site(own_postgres, client, resend, load)
                await load.more(20)
                yield site
                await load.more(20)
                await site.becomes(HEALTHY)
            await assert_each_once(load, own_postgres.dsn, resend.ledger)


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_restart(site: Site, how: str) -> None:
    """PostgreSQL goes away, in good order or not, stays away until calls fail at once, and comes back."""
    await asyncio.to_thread(getattr(site.postgres, how))
    await site.load.refusals(50)
    await site.becomes(UNHEALTHY)
    site.postgres.start()


async def test_frozen(site: Site) -> None:
    """PostgreSQL stops answering in mid-call: nobody waits for longer than the limit, and then not at all."""
    site.postgres.send(signal.SIGSTOP)
    await site.load.refusals(20)
    await site.becomes(UNHEALTHY)
    site.postgres.send(signal.SIGCONT)


async def test_connections_are_cut(site: Site) -> None:
    """Every connection is ended again and again, in the middle of calls, commits and deliveries."""
    sql = await asyncpg.connect(site.postgres.dsn)
    try:
        for _ in range(10):
            await site.load.more(5)
            await sql.execute(CUT.format(mine=sql.get_server_pid()))
    finally:
        await sql.close()


async def test_connections_run_out(site: Site) -> None:
    """A lock keeps all calls of one function waiting: they are refused in their time, and go on when it is free."""
    sql = await asyncpg.connect(site.postgres.dsn)
    try:
        async with mail_load(site.client.notification, callers=40) as crowd, sql.transaction():
            await crowd.more(10)
            await sql.execute("lock table notifications in access exclusive mode")
            await crowd.refusals(40)
        site.load.acknowledged.update(crowd.acknowledged)
        site.load.refused.update(crowd.refused)
    finally:
        await sql.close()
