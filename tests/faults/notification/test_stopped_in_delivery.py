"""A server that is told to stop while Resend holds its mails."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import asyncpg

from support.databases import fresh_database
from support.resend_server import KEY, Handle, resend_server
from support.served import served
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.settings import Settings

MAILS = 30
ENQUEUE = """
select internal.enqueue_notification('MATCH_DECLINE', gen_random_uuid(), '{"decliner_name": "Ben"}',
    'mail/' || number, null, 'ann+' || number || '@example.org') from generate_series(1, $1) number
"""
STATES = "select state, count(*) from notifications group by state"


async def test_begun_is_ended_and_the_rest_given_back(admin_dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """What Resend has is waited for and recorded, nothing stays on a lease, and the next server sends the rest."""
    go_on = asyncio.Event()

    async def hold(request: object, handle: Handle) -> object:
        await go_on.wait()
        return await handle(request)  # type: ignore[arg-type]

    async with fresh_database(admin_dsn) as dsn, resend_server() as resend:
        resend.misbehave(*[hold] * MAILS)  # type: ignore[list-item]
        options = {
            "DATABASE_URL": dsn,
            "REDIS_URL": engines.redis_url,
            "RESEND_API_KEY": KEY,
            "RESEND_API_URL": resend.url,
        }
        drained = Settings(_env_file=None).drain_delay
        sql = await asyncpg.connect(dsn)
        try:
            with (tmp_path / "said").open("w") as log, served(tmp_path / "one", log=log, **options) as server:
                await sql.fetch(ENQUEUE, MAILS)
                async with asyncio.timeout(30):
                    await resend.asked(4)
                server.process.send_signal(signal.SIGTERM)
                asyncio.get_running_loop().call_later(drained + 0.5, go_on.set)
                assert await asyncio.to_thread(server.process.wait, 60) == 0
            states = Counter({row["state"]: row["count"] for row in await sql.fetch(STATES)})
            assert set(states) == {"SENT", "PENDING"}
            assert states["SENT"] == len(resend.ledger) >= 4
            with (tmp_path / "said").open("a") as log, served(tmp_path / "two", log=log, **options):
                async with asyncio.timeout(60):
                    await resend.took(MAILS)
        finally:
            await sql.close()
    assert set(Counter(each.notification_id for each in resend.ledger).values()) == {1}
