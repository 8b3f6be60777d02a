"""Mails: how many a dispatcher brings out, and what a claim costs as the queue grows, in one run.

    python benchmarks/notification.py [--mails 1000] [--rounds 3] [--waiting 10 10000 [1000000]]

The provider is the Resend of the tests, in a process of its own; PostgreSQL is the embedded one. Ways compared:

    requests     the mailer alone, eight requests at a time, no database: as fast as the provider is asked
    dispatcher   one dispatcher: claim, gate, commit of the bytes, request, record
    two          two dispatchers on one queue
    limited      two dispatchers, and an account that takes LIMIT requests a second

Rounds alternate between the first three, and a figure is the median. Claims take eight mails and are rolled back; the
sizes of the queue take turns. A queue of a million needs some minutes and 2 GB to fill.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import structlog
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.databases import create_template, execute, fresh_database
from support.resend_server import KEY
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.postgres import PostgresDatabase, open_postgres
from wingmanmatch_server.notification.dispatcher import Dispatcher
from wingmanmatch_server.notification.mailer import OutgoingMail
from wingmanmatch_server.notification.render import Recipient, Renderer, create_environment
from wingmanmatch_server.notification.resend_mailer import ResendMailer, open_resend
from wingmanmatch_server.notification.store import NotificationStore
from wingmanmatch_server.resilience.breaker import Breaker, Limits

TESTS = Path(__file__).parents[1] / "tests"
IN_FLIGHT = 8
LIMIT = 50  # requests a second
SECONDS_LIMITED = 6
CLAIMS = 20  # a burst
FILL = """
insert into notifications (
    kind, user_id, recipient_email, recipient_name, locale, payload, dedupe_key, send_time, next_attempt_time)
select 'MATCH_DECLINE', gen_random_uuid(), 'ann+' || n || '@example.org', 'Ann', 'en', '{"decliner_name": "Ben"}',
    'mail/' || n, now() - n * interval '1 ms', now() - n * interval '1 ms'
from generate_series(1, $1::integer) n
"""
CLAIM = "select claim_notifications('benchmark', 8, 60)"


@asynccontextmanager
async def provider(*options: str) -> AsyncIterator[str]:
    """Run a provider in a process of its own; yield its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.resend_server", *options), stdout=asyncio.subprocess.PIPE, cwd=TESTS
    )
    try:
        assert process.stdout
        yield (await process.stdout.readline()).decode().split()[0].partition("=")[2]
    finally:
        process.kill()
        await process.communicate()


def make_renderer() -> Renderer:
    """Return a renderer as the server has it."""
    return Renderer(
        create_environment(), sender="WingmanMatch <hello@notify.example.org>", app_url="https://app.example.org"
    )


async def fill(dsn: str, count: int) -> None:
    """Let so many mails wait, and nothing else be there."""
    connection = await asyncpg.connect(dsn, command_timeout=900)
    try:
        await connection.execute("truncate notifications, delivery_pauses, address_charges")
        await connection.execute(FILL, count)
        await connection.execute("vacuum analyze notifications")
    finally:
        await connection.close()


async def requests(mailer: ResendMailer, count: int) -> float:
    """Return the mails a second of the mailer alone."""
    rendered = make_renderer().render(
        str(uuid.uuid4()), "MATCH_DECLINE", Recipient(None, "Ann", "en"), {"decliner_name": "Ben"}, None
    )
    now = datetime.now(UTC)

    def mail() -> OutgoingMail:
        return OutgoingMail(
            notification_id=str(uuid.uuid4()),
            kind="MATCH_DECLINE",
            idempotency_key=str(uuid.uuid4()),
            create_time=now,
            send_time=now,
            recipient_email="ann@example.org",
            recipient_name="Ann",
            sender=rendered.sender,
            subject=rendered.subject,
            html=rendered.html,
            text=rendered.text,
            headers=rendered.headers,
        )

    async def work() -> None:
        for _ in range(count // IN_FLIGHT):
            await mailer.deliver(mail())

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - started)


async def dispatch(database: PostgresDatabase, dsn: str, mailer: ResendMailer, count: int, dispatchers: int) -> float:
    """Return the mails a second of so many dispatchers on a full queue."""
    await fill(dsn, count)
    sent = asyncio.Event()
    left = count

    def note(_kind: str, outcome: str) -> None:
        nonlocal left
        left -= outcome == "ACCEPTED"
        if left == 0:
            sent.set()

    running = [
        Dispatcher(
            NotificationStore(database),
            make_renderer(),
            mailer,
            database.listen,
            owner=str(number),
            random=random.Random(number),
            on_outcome=note,
        )
        for number in range(dispatchers)
    ]
    started = time.perf_counter()
    tasks = [asyncio.create_task(dispatcher.run()) for dispatcher in running]
    await sent.wait()
    taken = time.perf_counter() - started
    for dispatcher in running:
        dispatcher.stop()
    await asyncio.gather(*tasks)
    return count / taken


async def measure_dispatch(admin_dsn: str, mails: int, rounds: int) -> None:
    """Print mails a second."""
    breaker = Breaker("email", Limits(3, 120.0), time.monotonic)
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(fresh_database(admin_dsn))
        database = await stack.enter_async_context(open_postgres(dsn, max_connections=20))
        url = await stack.enter_async_context(provider())
        mailer = await stack.enter_async_context(open_resend(KEY, url, breaker))
        ways: dict[str, Callable[[], Awaitable[float]]] = {
            "requests": lambda: requests(mailer, mails),
            "dispatcher": lambda: dispatch(database, dsn, mailer, mails, 1),
            "two": lambda: dispatch(database, dsn, mailer, mails, 2),
        }
        figures: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(rounds):
            for way in sorted(ways, reverse=turn % 2 == 0):
                figures[way].append(await ways[way]())
        medians = {way: statistics.median(column) for way, column in figures.items()}
        print(f"mails a second, of {mails}")
        for way, median in medians.items():
            print(f"  {way:<12}{median:8.0f}{median / medians['requests']:8.2f} of the requests alone")
        limited = await stack.enter_async_context(provider("--per-second", str(LIMIT)))
        slow = await stack.enter_async_context(open_resend(KEY, limited, breaker))
        rate = await dispatch(database, dsn, slow, LIMIT * SECONDS_LIMITED, 2)
        print(f"  {'limited':<12}{rate:8.0f}{rate / LIMIT:8.2f} of the {LIMIT} that the account takes")


async def claim(connection: asyncpg.Connection) -> float:
    """Return the milliseconds of a claim that is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    started = time.perf_counter()
    await connection.fetchval(CLAIM)
    taken = time.perf_counter() - started
    await transaction.rollback()
    return taken * 1e3


async def measure_claims(admin_dsn: str, waiting: list[int], rounds: int) -> None:
    """Print what a claim costs at each size of the queue."""
    async with AsyncExitStack() as stack:
        connections: dict[int, asyncpg.Connection] = {}
        for size in waiting:
            dsn = await stack.enter_async_context(fresh_database(admin_dsn))
            await fill(dsn, size)
            connections[size] = await asyncpg.connect(dsn)
            stack.push_async_callback(connections[size].close)
        figures: dict[int, list[float]] = {size: [] for size in waiting}
        for turn in range(rounds * 3 + 1):
            for size in sorted(waiting, reverse=turn % 2 == 0):
                burst = [await claim(connections[size]) for _ in range(CLAIMS)]
                if turn:  # the first round warms up
                    figures[size] += burst
                await connections[size].execute("vacuum notifications")
        first = statistics.median(figures[waiting[0]])
        print("milliseconds of a claim of 8, by how many mails wait")
        for size, taken in figures.items():
            median, worst = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
            print(f"  {size:>9,}{median:8.2f} median{worst:8.2f} 95 %{median / first:8.2f} of the first")


async def main(mails: int, rounds: int, waiting: list[int]) -> None:
    """Run it all on engines of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as folder:
        engines = EmbeddedEngines(Path(folder), valkey=False)
        engines.start()
        try:
            engines.wait()
            await create_template(engines.postgres_dsn)
            await execute(engines.postgres_dsn, "alter system set autovacuum = off")
            await execute(engines.postgres_dsn, "select pg_reload_conf()")
            await measure_dispatch(engines.postgres_dsn, mails, rounds)
            await measure_claims(engines.postgres_dsn, waiting, rounds)
        finally:
            engines.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--mails", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waiting", type=int, nargs="+", default=[10, 10_000])
    options = parser.parse_args()
    uvloop.run(main(options.mails, options.rounds, options.waiting))
