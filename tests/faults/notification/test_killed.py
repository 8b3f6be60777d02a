"""Dispatchers killed with -9, or stopped for longer than they may, lose no mail and send none twice."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.dispatcher_process import POINTS, dispatcher_process
from support.outbox import Outbox
from support.resend_server import Handle, ResendServer, answer, drop_after_accepting, resend_server
from wingmanmatch_server.drivers.postgres import open_postgres

MAILS = 1000
FEWER = 300  # enough to see that mails are sent twice where nothing prevents it
REPLICAS = 3
BETWEEN_KILLS = (30, 90)  # mails


@pytest.fixture
async def outbox(fresh_database_dsn: str) -> AsyncIterator[Outbox]:
    """An empty outbox on a database of its own."""
    async with open_postgres(fresh_database_dsn, max_connections=4) as database:
        sql = await asyncpg.connect(fresh_database_dsn)
        try:
            yield await Outbox.open(database, sql)
        finally:
            await sql.close()


async def sent(outbox: Outbox, count: int = 1) -> None:
    """Wait until so many mails are recorded as sent."""
    while await outbox.sql.fetchval("select count(*) from notifications where state = 'SENT'") < count:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at(outbox: Outbox, fresh_database_dsn: str, point: str) -> None:
    """Wherever death comes, the next dispatcher sees to it that there is exactly one mail, made of the same bytes."""
    async with resend_server() as server:
        notification_id = await outbox.enqueue()
        async with dispatcher_process(fresh_database_dsn, server.url, "--die", point) as doomed:
            while (line := await doomed.said()) and line != point:
                pass
            assert await doomed.process.wait() == -signal.SIGKILL
        if point != "recorded":
            assert (await outbox.row(notification_id))["state"] == "SENDING"
            await outbox.lapse(notification_id)
        async with dispatcher_process(fresh_database_dsn, server.url):
            await sent(outbox)
    assert [each.notification_id for each in server.ledger] == [notification_id]
    assert len(set(server.requests)) == 1
    assert server.replays == (point == "delivered")


async def test_killed_while_resend_has_it(outbox: Outbox, fresh_database_dsn: str) -> None:
    """A dispatcher that dies between request and answer leaves a mail that is out: it is not sent again."""
    taken = asyncio.Event()

    async def accept_and_hold(request: object, handle: Handle) -> object:
        await handle(request)  # type: ignore[arg-type]
        taken.set()
        return await asyncio.Event().wait()

    async with resend_server() as server:
        server.misbehave(accept_and_hold)  # type: ignore[arg-type]
        notification_id = await outbox.enqueue()
        async with dispatcher_process(fresh_database_dsn, server.url):
            await taken.wait()
        await outbox.lapse(notification_id)
        async with dispatcher_process(fresh_database_dsn, server.url):
            await sent(outbox)
    assert (len(server.ledger), server.replays, len(set(server.requests))) == (1, 1, 1)


@pytest.mark.parametrize("point", ["claimed", "cleared", "delivered"])
async def test_stopped_past_the_lease(outbox: Outbox, fresh_database_dsn: str, point: str) -> None:
    """Who wakes up after another has taken its mail over sends no second one and changes nothing."""
    async with resend_server() as server:
        notification_id = await outbox.enqueue()
        async with dispatcher_process(fresh_database_dsn, server.url, "--stop", point) as sleeper:
            assert await sleeper.said() == point
            await outbox.lapse(notification_id)
            async with dispatcher_process(fresh_database_dsn, server.url):
                await sent(outbox)
            row = await outbox.row(notification_id)
            sleeper.process.send_signal(signal.SIGCONT)
            if point == "claimed":
                # What it holds is not its own any more: it must not even ask.
                second = await outbox.enqueue()
                await server.took(2)
                assert second in {each.notification_id for each in server.ledger}
            else:
                assert await sleeper.said() == "None"
    assert Counter(each.notification_id for each in server.ledger)[notification_id] == 1
    assert await outbox.row(notification_id) == row


async def many_deaths(outbox: Outbox, server: ResendServer, dsn: str, count: int, *options: str) -> int:
    """Dispatch with three processes, killing and replacing one at a time, until all is sent; return the deaths."""
    chance, deaths, done = random.Random(20261123), 0, asyncio.Event()

    async def replica() -> None:
        nonlocal deaths
        while not done.is_set():
            async with dispatcher_process(dsn, server.url, *options):
                due = asyncio.create_task(server.took(len(server.ledger) + chance.randint(*BETWEEN_KILLS)))
                finished = asyncio.create_task(done.wait())
                await asyncio.wait((due, finished), return_when=asyncio.FIRST_COMPLETED)
                due.cancel()
                finished.cancel()
            deaths += not done.is_set()

    async with asyncio.TaskGroup() as replicas:
        for _ in range(REPLICAS):
            replicas.create_task(replica())
        await sent(outbox, count)
        done.set()
    return deaths


async def unreliable_account(outbox: Outbox, server: ResendServer, count: int) -> set[str]:
    """Write the mails, and let Resend lose every twentieth answer and refuse as many requests."""
    for turn in range(count // 10):
        server.misbehave(*[lambda request, handle: handle(request)] * 18)
        server.misbehave(drop_after_accepting if turn % 2 else answer(429, "rate_limit_exceeded", retry_after="0.05"))
    rows = [(number,) for number in range(count)]
    await outbox.sql.executemany(
        "select internal.enqueue_notification('MATCH_DECLINE', gen_random_uuid(), '{\"decliner_name\": \"Ben\"}',"
        " 'mail/' || $1::integer, null, 'ann+' || $1::integer || '@example.org')",
        rows,
    )
    return {str(row["id"]) for row in await outbox.sql.fetch("select id from notifications")}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_lost_nothing_twice(outbox: Outbox, fresh_database_dsn: str) -> None:
    """A thousand mails, three processes, kills all along, an account that loses answers: each mail once."""
    async with resend_server(delay=0.005) as server:
        ids = await unreliable_account(outbox, server, MAILS)
        deaths = await many_deaths(outbox, server, fresh_database_dsn, MAILS)
    assert deaths >= 5
    assert Counter(each.notification_id for each in server.ledger) == Counter(ids)
    assert server.replays > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_without_keys_there_are_duplicates(outbox: Outbox, fresh_database_dsn: str) -> None:
    """The same without idempotency keys sends mails twice, so the test above can fail."""
    async with resend_server(delay=0.005) as server:
        ids = await unreliable_account(outbox, server, FEWER)
        await many_deaths(outbox, server, fresh_database_dsn, FEWER, "--without-key")
    counted = Counter(each.notification_id for each in server.ledger)
    assert counted.keys() == ids
    assert max(counted.values()) > 1
