"""The mail path while its database is stopped."""

from pathlib import Path

import asyncpg

from support.outbox import Journal, Outbox, Provider, create_dispatcher, running
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migrations import migrate, read_migrations
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.notification.dispatcher import Pace


def start_postgres(folder: Path) -> EmbeddedEngines:
    """Start a PostgreSQL that is this test's alone."""
    engines = EmbeddedEngines(folder, valkey=False)
    engines.start()
    engines.wait()
    return engines


async def test_outage_delays_mails_and_loses_none(tmp_path: Path, journal: Journal) -> None:
    """PostgreSQL stops during a delivery and returns: the unrecorded mail is repeated unchanged, later ones follow."""
    engines = start_postgres(tmp_path)
    try:
        await migrate(engines.postgres_dsn, read_migrations(), baseline=True)
        async with open_postgres(engines.postgres_dsn, max_connections=4) as database:
            outbox = Outbox(database, await asyncpg.connect(engines.postgres_dsn))
            first = await outbox.enqueue()
            provider = Provider()
            provider.open.clear()
            pace = Pace(lease=2.0, longest_sleep=1.0, poll_interval=0.2)
            async with running(create_dispatcher(outbox, provider, pace=pace)):
                unrecorded = await provider.attempts.get()
                engines.stop()
                provider.open.set()
                await journal.seen("notification_dispatch_paused")
                engines = start_postgres(tmp_path)
                await journal.seen("notification_dispatch_resumed")
                second = await outbox.enqueue()
                await journal.seen("notification_attempted", 2)
            attempts = [provider.attempts.get_nowait() for _ in range(provider.attempts.qsize())]
            states = [(await outbox.store.get_notification(each))["state"] for each in (first, second)]
    finally:
        engines.stop()
    paused = await journal.seen("notification_dispatch_paused")
    assert [event["reason"] for event in paused] == ["DATABASE_UNAVAILABLE"]
    assert states == ["SENT", "SENT"]
    assert unrecorded in attempts
    assert {attempt.notification_id for attempt in attempts} == {first, second}
