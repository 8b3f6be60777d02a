"""The mail path while its database is stopped."""

import asyncio
from pathlib import Path

import asyncpg
from aiohttp import web

from support.outbox import Journal, Outbox, create_dispatcher, running
from support.resend_server import KEY, Handle, resend_server
from wingmanmatch_server.bootstrap.breakers import EMAIL_LIMITS
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.notification.dispatcher import Pace
from wingmanmatch_server.notification.resend_mailer import open_resend
from wingmanmatch_server.resilience.breaker import Breaker


def start_postgres(folder: Path) -> EmbeddedEngines:
    """Start a PostgreSQL that is this test's alone."""
    engines = EmbeddedEngines(folder, valkey=False)
    engines.start()
    engines.wait()
    return engines


async def test_outage_delays_mails_and_loses_none(tmp_path: Path, journal: Journal) -> None:
    """PostgreSQL stops after Resend took a mail and before that is recorded, and returns: each mail is out once."""
    taken, stopped = asyncio.Event(), asyncio.Event()

    async def accept_and_wait(request: web.Request, handle: Handle) -> web.Response:
        response = await handle(request)
        taken.set()
        await stopped.wait()
        return response

    breaker = Breaker("email", EMAIL_LIMITS, lambda: 0.0)
    engines = start_postgres(tmp_path)
    try:
        await migrate(engines.postgres_dsn, read_migrations(), baseline=True)
        async with (
            open_postgres(engines.postgres_dsn, max_connections=4) as database,
            resend_server() as server,
            open_resend(KEY, server.url, breaker) as mailer,
        ):
            outbox = await Outbox.open(database, await asyncpg.connect(engines.postgres_dsn))
            server.misbehave(accept_and_wait)
            first = await outbox.enqueue()
            async with running(create_dispatcher(outbox, mailer, pace=Pace())):
                await taken.wait()
                engines.stop()
                stopped.set()
                await journal.seen("notification_dispatch_paused")
                engines = start_postgres(tmp_path)
                await journal.seen("notification_dispatch_resumed")
                second = await outbox.enqueue()
                await journal.seen("notification_attempted", 2)
            states = [(await outbox.store.get_notification(each)).state for each in (first, second)]
    finally:
        engines.stop()
    paused = await journal.seen("notification_dispatch_paused")
    assert [event["reason"] for event in paused] == ["DATABASE_UNAVAILABLE"]
    assert states == ["SENT", "SENT"]
    assert sorted(each.notification_id for each in server.ledger) == sorted([first, second])
    # What could not be recorded is asked for again, by the same bytes under the same key.
    assert (len(server.requests) - server.replays, len(set(server.requests))) == (2, 2)
