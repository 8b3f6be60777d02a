"""A dispatcher killed with -9 loses no mail and changes none."""

import asyncio
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import asyncpg
import orjson
import pytest

import support.dying_dispatcher
from support.outbox import Outbox, Provider, create_dispatcher, running
from wingmanmatch_server.drivers.postgres import open_postgres

PROGRAM = Path(support.dying_dispatcher.__file__)


async def dispatch_until_death(dsn: str, point: str) -> list[bytes]:
    """Run a dispatcher that kills itself at `point`, and return what it had delivered by then."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, dsn, point, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, complaints = await process.communicate()
    assert process.returncode == -signal.SIGKILL, complaints.decode()
    return output.splitlines()


@pytest.mark.parametrize(
    ("point", "deliveries", "attempts", "doubt"),
    [("render", 0, 1, False), ("deliver", 0, 2, True), ("delivered", 1, 2, True)],
)
async def test_killed_dispatcher_leaves_the_mail_to_others(
    fresh_database_dsn: str,
    point: str,
    deliveries: int,
    attempts: int,
    doubt: bool,  # noqa: FBT001
) -> None:
    """Wherever death comes, the next dispatcher delivers the mail, and if it was out before, the very same one."""
    async with open_postgres(fresh_database_dsn, max_connections=4) as database:
        outbox = Outbox(database, await asyncpg.connect(fresh_database_dsn))
        notification_id = await outbox.enqueue()
        delivered = await dispatch_until_death(fresh_database_dsn, point)
        assert (await outbox.row(notification_id))["state"] == "SENDING"

        await outbox.lapse(notification_id)
        provider = Provider()
        async with running(create_dispatcher(outbox, provider)):
            mail = await provider.attempts.get()
        row = await outbox.row(notification_id)
        await outbox.sql.close()
    assert delivered == [orjson.dumps(asdict(mail))] * deliveries
    assert (row["state"], row["attempt_count"], row["ambiguous"]) == ("SENT", attempts, doubt)
