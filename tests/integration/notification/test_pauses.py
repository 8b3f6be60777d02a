"""What Resend asks of one replica holds for all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from support.outbox import PACE, Journal, Outbox, create_dispatcher, running
from support.resend_server import KEY, Handle, ResendServer, answer, drop_after_accepting, resend_server
from wingmanmatch_server.notification.resend_mailer import open_resend
from wingmanmatch_server.resilience.breaker import Breaker, Limits

REPLICAS = ("one", "two")


@asynccontextmanager
async def dispatching(outbox: Outbox, server: ResendServer, api_key: str = KEY) -> AsyncIterator[None]:
    """Run two replicas on one outbox and one account."""
    async with asyncio.TaskGroup() as replicas:
        stops = []
        for owner in REPLICAS:
            ready: asyncio.Future[asyncio.Event] = asyncio.get_running_loop().create_future()
            replicas.create_task(_replica(outbox, server, api_key, owner, ready))
            stops.append(await ready)
        try:
            yield
        finally:
            for stop in stops:
                stop.set()


async def _replica(
    outbox: Outbox, server: ResendServer, api_key: str, owner: str, ready: "asyncio.Future[asyncio.Event]"
) -> None:
    breaker, stop = Breaker("email", Limits(3, 0.1), asyncio.get_running_loop().time), asyncio.Event()
    async with (
        open_resend(api_key, server.url, breaker) as mailer,
        running(create_dispatcher(outbox, mailer, owner=owner, pace=PACE)),
    ):
        ready.set_result(stop)
        await stop.wait()


async def states(outbox: Outbox) -> dict[str, int]:
    """Return how many mails are in each state."""
    rows = await outbox.sql.fetch("select state, count(*) from notifications group by state")
    return dict(tuple(row) for row in rows)


async def test_limit_of_the_account_holds_for_all(outbox: Outbox, journal: Journal) -> None:
    """Two replicas over an account that takes five a second send all, once each, and hardly bump into the limit."""
    async with resend_server(per_second=5) as server:
        await outbox.enqueue_many(12)
        async with dispatching(outbox, server):
            await server.took(12)
            await journal.seen("notification_deliveries_paused")
    assert len({each.notification_id for each in server.ledger}) == len(server.ledger) == 12
    attempts = await outbox.sql.fetchval("select max(attempt_count) from notifications")
    assert attempts == 1
    # What was under way when the window filled up: at most what both have in hand, in each of the windows.
    assert len(server.requests) <= 12 + 3 * 16


@pytest.mark.parametrize(
    ("refusal", "reason"), [("daily_quota_exceeded", "QUOTA"), ("rate_limit_exceeded", "THROTTLED")]
)
async def test_refusal_stops_every_replica(outbox: Outbox, journal: Journal, refusal: str, reason: str) -> None:
    """One refusal with a time is enough: nobody asks again before, and no mail loses an attempt."""
    async with resend_server() as server:
        server.misbehave(answer(429, refusal, retry_after="3600"))
        async with dispatching(outbox, server):
            refused = await outbox.enqueue()
            await journal.seen("notification_deliveries_paused")
            others = await outbox.enqueue_many(5)
            await journal.seen("notification_deliveries_paused", 2)
    pause = await outbox.store.get_pause()
    assert pause is not None
    assert (pause.reason, pause.error) == (reason, f"429 {refusal}")
    assert len(server.requests) == 1
    assert await states(outbox) == {"PENDING": 6}
    row = await outbox.row(refused)
    assert (row["attempt_count"], row["deferral_count"], row["first_attempt_time"]) == (0, 1, None)
    assert len(others) == 5


async def test_mended_account_goes_on(outbox: Outbox, journal: Journal) -> None:
    """A wrong key pauses everything; what a restart with the right one resumes goes out, rendered anew."""
    async with resend_server() as server:
        async with dispatching(outbox, server, "re_wrong"):
            notification_id = await outbox.enqueue()
            await journal.seen("notification_deliveries_paused")
        assert await outbox.store.resume()
        assert not await outbox.store.resume()
        async with dispatching(outbox, server):
            [accepted] = await server.took(1)
    assert accepted.notification_id == notification_id
    assert accepted.key.endswith("/g2")


async def test_cancelled_mail_never_leaves(outbox: Outbox, journal: Journal) -> None:
    """Of mails called off while two replicas send them, Resend gets exactly those that were not called off in time."""
    async with resend_server(delay=0.002) as server:
        ids = sorted(await outbox.enqueue_many(100))
        async with dispatching(outbox, server):
            await server.asked(10)
            answers = await asyncio.gather(*map(outbox.store.cancel, ids), return_exceptions=True)
            cancelled = {
                each for each, answer in zip(ids, answers, strict=True) if not isinstance(answer, BaseException)
            }
            await journal.seen("notification_attempted", len(ids) - len(cancelled))
    assert {each.notification_id for each in server.ledger} == set(ids) - cancelled
    assert cancelled
    refusals = {getattr(answer, "reason", None) for answer in answers if isinstance(answer, BaseException)}
    assert refusals <= {"NOTIFICATION_IN_FLIGHT", "NOTIFICATION_STATE_INVALID"}


async def test_lost_answer_is_no_second_mail(outbox: Outbox, journal: Journal) -> None:
    """When the answer is lost the mail is asked for again, by the same bytes under the same key."""
    async with resend_server() as server:
        server.misbehave(drop_after_accepting)
        async with dispatching(outbox, server):
            notification_id = await outbox.enqueue()
            await journal.seen("notification_attempted", 2)
    [accepted] = server.ledger
    assert len(set(server.requests)) == 1
    assert (await outbox.row(notification_id))["provider_message_id"] == accepted.id


async def test_mails_wait_for_the_probe_no_longer_than_it_takes(outbox: Outbox, journal: Journal) -> None:
    """Who comes while one mail finds out whether Resend is back is due at once: it leaves when that one has."""
    found_out = asyncio.Event()

    async def hold(request: web.Request, handle: Handle) -> web.Response:
        await found_out.wait()
        return await handle(request)

    breaker = Breaker("email", Limits(1, 0.1), asyncio.get_running_loop().time)
    async with resend_server() as server, open_resend(KEY, server.url, breaker) as mailer:
        server.misbehave(answer(500, "application_error"), hold)
        await outbox.enqueue()
        async with running(create_dispatcher(outbox, mailer)):
            await journal.seen("notification_attempted")
            await outbox.enqueue_many(8)
            while "WITHHELD" not in {each["outcome"] for each in await journal.seen("notification_attempted")}:
                await journal.more()
            waiting = "select bool_and(next_attempt_time <= now()) from notifications where deferral_count > 0"
            due = await outbox.sql.fetchval(waiting)
            found_out.set()
            await server.took(9)
    assert due


async def test_resend_away_costs_no_attempts(outbox: Outbox, journal: Journal) -> None:
    """While the breaker is open mails wait where they are, and go out once Resend is back."""
    async with resend_server() as server:
        server.misbehave(*[answer(500, "application_error")] * 3)
        async with dispatching(outbox, server):
            ids = await outbox.enqueue_many(20)
            await server.took(20)
            await journal.seen("notification_attempted", 23)
    assert {each.notification_id for each in server.ledger} == ids
    attempts = await outbox.sql.fetchval("select sum(attempt_count) from notifications")
    assert attempts <= 23 + len(REPLICAS)
