"""Mails on their whole way out: a row becomes a file, whatever fails in between."""

import asyncio
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from support.outbox import Journal, Outbox, Provider, cannot_listen, create_dispatcher, running
from wingmanmatch_server.notification.dispatcher import Pace
from wingmanmatch_server.notification.mailer import Delivery, OutboxMailer, Outcome


async def test_row_becomes_a_file(outbox: Outbox, journal: Journal, tmp_path: Path) -> None:
    """A mail written while the dispatcher sleeps is soon in the folder, and its row says so."""
    async with running(create_dispatcher(outbox, OutboxMailer(tmp_path))):
        payload = {"inviter_name": "Ben", "venue_suggestion": "Café Central"}
        notification_id = await outbox.enqueue(
            kind="MATCH_INVITATION", payload=payload, recipient_email="ann@example.org"
        )
        await journal.seen("notification_attempted")
    row = await outbox.row(notification_id)
    message = message_from_bytes((tmp_path / row["provider_message_id"]).read_bytes(), policy=default)
    assert row["state"] == "SENT"
    assert message["Subject"] == "Ben would like to be your wingman"
    assert message["To"] == "ann@example.org"


async def test_address_reaches_no_log(outbox: Outbox, journal: Journal) -> None:
    """Of a mail's way the log holds ids and outcomes, never the recipient or the content."""
    provider = Provider(Delivery(Outcome.NOT_ACCEPTED, error="ConnectError"), RuntimeError("ann@example.org is full"))
    async with running(create_dispatcher(outbox, provider)):
        await outbox.enqueue(recipient_email="ann@example.org")
        await outbox.enqueue(kind="MEETUP_MOVED", recipient_email="ann@example.org")
        events = await journal.seen("notification_attempted", 4)
    assert {event["state"] for event in events} == {"PENDING", "SENT", "DEAD"}
    assert "ann@" not in str(journal.entries)
    assert "Ben" not in str(journal.entries)


async def test_without_notifications_the_dispatcher_polls(outbox: Outbox, journal: Journal) -> None:
    """Where the database cannot be listened to, mails go out all the same."""
    async with running(create_dispatcher(outbox, Provider(), listen=cannot_listen)):
        await outbox.enqueue()
        assert (await journal.seen("notification_attempted"))[0]["state"] == "SENT"


async def test_dispatcher_wakes_when_a_mail_falls_due(outbox: Outbox, journal: Journal) -> None:
    """A mail for later goes out at its time, long before the longest sleep ends."""
    soon = await outbox.sql.fetchval("select (clock_timestamp() + interval '0.3 seconds')::text")
    notification_id = await outbox.enqueue(send_time=soon)
    async with running(create_dispatcher(outbox, Provider())):
        await journal.seen("notification_attempted")
    row = await outbox.row(notification_id)
    assert row["sent_time"] >= row["send_time"]


async def test_mail_that_cannot_be_rendered_holds_up_nobody(outbox: Outbox, journal: Journal) -> None:
    """Such a mail is DEAD with the name of the error, and the mails after it go out."""
    no_template = await outbox.enqueue(kind="MEETUP_MOVED")
    hole = await outbox.enqueue(payload={})
    good = await outbox.enqueue()
    async with running(create_dispatcher(outbox, Provider(), pace=Pace(concurrency=1))):
        await journal.seen("notification_attempted", 3)
    rows = [await outbox.row(each) for each in (no_template, hole, good)]
    assert [row["state"] for row in rows] == ["DEAD", "DEAD", "SENT"]
    assert [row["last_error"] for row in rows] == ["MissingField", "MissingField", None]


@pytest.mark.parametrize(
    "failure",
    [Delivery(Outcome.NOT_ACCEPTED, error="ConnectError"), Delivery(Outcome.AMBIGUOUS), ConnectionResetError()],
    ids=["refused", "doubtful", "raised"],
)
async def test_failed_attempt_is_repeated_unchanged(
    outbox: Outbox, journal: Journal, failure: Delivery | Exception
) -> None:
    """The second attempt is the first one's mail and key, byte for byte; only doubt is remembered."""
    notification_id = await outbox.enqueue()
    provider = Provider(failure)
    async with running(create_dispatcher(outbox, provider)):
        await journal.seen("notification_attempted", 2)
    row = await outbox.row(notification_id)
    assert provider.attempts.get_nowait() == provider.attempts.get_nowait()
    assert (row["state"], row["attempt_count"]) == ("SENT", 2)
    assert row["ambiguous"] is (failure != Delivery(Outcome.NOT_ACCEPTED, error="ConnectError"))


async def test_refused_content_is_final(outbox: Outbox, journal: Journal) -> None:
    """A mail that its provider will never take is DEAD after one attempt."""
    notification_id = await outbox.enqueue()
    provider = Provider(Delivery(Outcome.BAD_MESSAGE, error="validation_error"))
    async with running(create_dispatcher(outbox, provider)):
        await journal.seen("notification_attempted")
    row = await outbox.row(notification_id)
    assert (row["state"], row["last_error"], provider.attempts.qsize()) == ("DEAD", "validation_error", 1)


async def test_provider_that_hangs_is_given_up(outbox: Outbox, journal: Journal) -> None:
    """An attempt that outlasts its time is in doubt, and the mail is tried again."""
    await outbox.enqueue()
    provider = Provider()
    provider.open.clear()
    pace = Pace(delivery_timeout=0.02, first_retry=0.02)
    async with running(create_dispatcher(outbox, provider, pace=pace)):
        first = (await journal.seen("notification_attempted"))[0]
        provider.open.set()
        while (await journal.seen("notification_attempted"))[-1]["state"] != "SENT":
            await journal.more()
    assert (first["outcome"], first["error"], first["state"]) == ("AMBIGUOUS", "TimeoutError", "PENDING")


async def test_abandoned_mail_is_taken_over_unchanged(outbox: Outbox, journal: Journal) -> None:
    """What a dispatcher had begun to send, another sends again exactly so, whatever its own templates say by then."""
    notification_id = await outbox.enqueue()
    provider = Provider()
    provider.open.clear()
    cancelled = asyncio.create_task(create_dispatcher(outbox, provider).run())
    before = await provider.attempts.get()
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    assert (await outbox.row(notification_id))["state"] == "SENDING"

    await outbox.lapse(notification_id)
    provider.open.set()
    async with running(create_dispatcher(outbox, provider, owner="two", sender="Another <other@example.org>")):
        await journal.seen("notification_attempted")
    row = await outbox.row(notification_id)
    assert provider.attempts.get_nowait() == before
    assert (row["state"], row["attempt_count"], row["ambiguous"]) == ("SENT", 2, True)


async def test_two_workers_on_one_mail_leave_one_file(outbox: Outbox, journal: Journal, tmp_path: Path) -> None:
    """A worker that wakes after it lost its lease files nothing new and records nothing."""
    notification_id = await outbox.enqueue()
    (lost,) = (await outbox.store.claim("sleeper", 1, 60.0)).notifications
    await outbox.lapse(notification_id)
    async with running(create_dispatcher(outbox, OutboxMailer(tmp_path))):
        await journal.seen("notification_attempted")
    before = await outbox.row(notification_id)
    assert await outbox.store.finish(lost, Outcome.NOT_ACCEPTED) is None
    assert await outbox.row(notification_id) == before
    assert len(list(tmp_path.glob("*.eml"))) == 1


async def test_stop_finishes_what_is_in_flight(outbox: Outbox) -> None:
    """A stopped dispatcher waits for its deliveries, records them, and takes on nothing more."""
    first, second = await outbox.enqueue(), await outbox.enqueue()
    provider = Provider()
    provider.open.clear()
    dispatcher = create_dispatcher(outbox, provider, pace=Pace(concurrency=1))
    async with running(dispatcher) as task:
        await provider.attempts.get()
        dispatcher.stop()
        assert not task.done()
        provider.open.set()
        await task
    assert (await outbox.row(first))["state"] == "SENT"
    assert (await outbox.row(second))["state"] == "PENDING"


async def test_replicas_share_the_work(outbox: Outbox, journal: Journal) -> None:
    """Three dispatchers on one outbox deliver each of 60 mails once."""
    waiting = await outbox.enqueue_many(60)
    provider = Provider()
    replicas = [create_dispatcher(outbox, provider, owner=f"replica {number}") for number in range(3)]
    async with running(replicas[0]), running(replicas[1]), running(replicas[2]):
        await journal.seen("notification_attempted", 60)
    delivered = [provider.attempts.get_nowait().notification_id for _ in range(provider.attempts.qsize())]
    assert sorted(delivered) == sorted(waiting)
