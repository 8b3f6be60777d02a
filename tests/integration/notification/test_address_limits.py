"""How many emails an address gets in a time, and the digest that stands for the others."""

import asyncio
import uuid
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from support.outbox import Journal, Outbox, Provider, create_dispatcher, running
from wingmanmatch_server.notification.rows import ClaimedNotification

ANN = "Ann@Example.org"
CONTENT = {"subject": "as rendered"}
INVITATION = {"kind": "MATCH_INVITATION", "payload": {"inviter_name": "Eve"}}


async def claim(outbox: Outbox, owner: str = "one", limit: int = 50) -> list[ClaimedNotification]:
    """Lease what is due and may be sent."""
    return list((await outbox.store.claim(owner, limit, 60.0)).notifications)


async def send_all(outbox: Outbox) -> list[ClaimedNotification]:
    """Send what is due and may be sent."""
    claimed = await claim(outbox)
    for each in claimed:
        assert await outbox.store.begin_delivery(each, CONTENT, 60.0) is not None
        assert await outbox.store.finish(each, "ACCEPTED", provider_message_id="provider-1") == "SENT"
    return claimed


async def pass_time(outbox: Outbox, span: str) -> None:
    """Let everything that happened, and was to happen, be as much earlier."""
    await outbox.sql.execute(f"update address_charges set charge_time = charge_time - interval '{span}'")
    await outbox.sql.execute(
        f"update notifications set next_attempt_time = next_attempt_time - interval '{span}',"
        f" send_time = send_time - interval '{span}', expire_time = expire_time - interval '{span}'"
        " where state = 'PENDING'"
    )


async def states(outbox: Outbox, ids: set[str]) -> Counter[str]:
    """Count the states in which callers see emails."""
    return Counter([(await outbox.store.get_notification(each)).exact_state for each in ids])


async def digests(outbox: Outbox) -> list[dict[str, Any]]:
    """Return the digests, the oldest first."""
    rows = await outbox.sql.fetch("select id from notifications where kind = 'DIGEST' order by create_time")
    return [await outbox.row(str(row["id"])) for row in rows]


async def test_three_in_ten_minutes_and_one_digest(outbox: Outbox) -> None:
    """Of twenty emails three go out; the rest is held, and told by one digest as soon as the address may get it."""
    ids = await outbox.enqueue_many(19, recipient_email=ANN)
    ids.add(await outbox.enqueue(recipient_email=ANN.lower(), **INVITATION))
    assert len(await send_all(outbox)) == 3
    assert await states(outbox, ids) == {"SENT": 3, "HELD": 17}
    (digest,) = await digests(outbox)
    assert await send_all(outbox) == []
    await pass_time(outbox, "9 minutes 50 seconds")
    assert await send_all(outbox) == []
    await pass_time(outbox, "10 seconds")
    assert [each.id for each in await send_all(outbox)] == [digest["id"]]
    assert await states(outbox, ids) == {"SENT": 3, "DIGESTED": 17}
    assert {(await outbox.store.get_notification(each)).digest_id for each in ids} == {None, digest["id"]}
    told = (await digests(outbox))[0]["payload"]
    assert told in ({"answers": 16, "invitations": 1}, {"answers": 17})
    await pass_time(outbox, "1 day")
    assert await send_all(outbox) == []


async def test_previous_version_reads_what_is_held(outbox: Outbox) -> None:
    """To servers that know no digests a held email is PENDING, a digested one CANCELLED, and there are no digests."""
    ids = await outbox.enqueue_many(4, recipient_email=ANN, user_id=None)
    await send_all(outbox)
    found = await outbox.database.call("list_notifications")
    assert Counter(each["state"] for each in found["notifications"]) == {"SENT": 3, "PENDING": 1}
    held = await outbox.database.call("list_notifications", p_states=["PENDING"])
    assert len(held["notifications"]) == 1
    await pass_time(outbox, "10 minutes")
    await send_all(outbox)
    found = await outbox.database.call("list_notifications")
    assert Counter(each["state"] for each in found["notifications"]) == {"SENT": 3, "CANCELLED": 1}
    assert {each["id"] for each in found["notifications"]} == ids


async def test_previous_dispatcher_keeps_the_limits(outbox: Outbox) -> None:
    """A dispatcher that knows no digests claims no more than an address may get, and never a digest."""
    old = {"p_owner": "old", "p_limit": 50, "p_lease_seconds": 60.0}
    await outbox.enqueue_many(8, recipient_email=ANN)
    assert len((await outbox.database.call("claim_notifications", **old))["notifications"]) == 3
    await pass_time(outbox, "10 minutes")
    assert (await outbox.database.call("claim_notifications", **old))["notifications"] == []
    await outbox.enqueue(recipient_email=ANN)
    assert len((await outbox.database.call("claim_notifications", **old))["notifications"]) == 1
    assert [each.kind for each in await claim(outbox)] == ["DIGEST"]


async def test_ten_an_hour_and_thirty_a_day(outbox: Outbox) -> None:
    """Digests count too: whatever waits, an hour brings at most ten emails and a day at most thirty."""
    for minute in range(0, 1440, 10):
        await outbox.enqueue_many(3, recipient_email=ANN)
        await send_all(outbox)
        if minute == 50:
            assert await outbox.sql.fetchval("select count(*) from notifications where state = 'SENT'") == 10
        await pass_time(outbox, "10 minutes")
    assert await outbox.sql.fetchval("select count(*) from notifications where state = 'SENT'") == 30


async def test_reminders_are_not_caused_by_others(outbox: Outbox) -> None:
    """A reminder of the person's own meetup goes out beside three emails that others caused, up to ten an hour."""
    await outbox.enqueue_many(3, recipient_email=ANN)
    await send_all(outbox)
    match = (await outbox.sql.fetchval("select gen_random_uuid()")).hex
    soon = {"partner_name": "Ben", "scheduled_time": "2030-01-01T00:00:00Z"}
    ids = [await outbox.enqueue(kind="SESSION_REMINDER", payload=soon, recipient_email=ANN) for _ in range(9)]
    await outbox.sql.execute("update notifications set match_id = $1 where kind = 'SESSION_REMINDER'", uuid.UUID(match))
    assert len(await claim(outbox)) == 7
    assert await states(outbox, set(ids)) == {"SENDING": 7, "HELD": 2}


async def test_what_a_backend_sends_counts_whatever_its_kind(outbox: Outbox) -> None:
    """A reminder that a backend sends is limited as an invitation is."""
    soon = {"partner_name": "Ben", "scheduled_time": "2030-01-01T00:00:00Z"}
    for _ in range(5):
        await outbox.store.send("SESSION_REMINDER", soon, recipient_email=ANN)
    assert len(await claim(outbox)) == 3


async def test_claims_at_once_keep_the_limit(outbox: Outbox) -> None:
    """Eight dispatchers that claim at the same moment get three emails to an address between them."""
    await outbox.enqueue_many(40, recipient_email=ANN)
    await outbox.enqueue_many(40, recipient_email="ben@example.org")
    claims = await asyncio.gather(*(claim(outbox, f"owner-{each}", 10) for each in range(8)))
    taken = Counter(each.recipient_email for claimed in claims for each in claimed)
    assert taken == {ANN: 3, "ben@example.org": 3}


async def test_email_that_is_not_out_costs_nothing(outbox: Outbox) -> None:
    """What the provider surely did not take gives its place back; what may be out keeps it."""
    for outcome, left in (("NOT_ACCEPTED", 3), ("THROTTLED", 3), ("AMBIGUOUS", 0)):
        address = f"{outcome}@example.org"
        await outbox.enqueue_many(3, recipient_email=address)
        for each in await claim(outbox):
            await outbox.store.begin_delivery(each, CONTENT, 60.0)
            await outbox.store.finish(each, outcome, retry_seconds=3600.0)
        await outbox.enqueue_many(4, recipient_email=address)
        assert len(await claim(outbox)) == left
        await outbox.sql.execute("update notifications set state = 'CANCELLED' where state = 'PENDING'")


async def test_email_in_doubt_is_repeated_and_not_held(outbox: Outbox) -> None:
    """An email that may be out waits for its address to be free, and is repeated with the same content."""
    doubtful = await outbox.enqueue(recipient_email=ANN)
    (first,) = await claim(outbox)
    await outbox.store.begin_delivery(first, CONTENT, 60.0)
    await outbox.store.finish(first, "AMBIGUOUS", retry_seconds=0.0)
    await outbox.sql.execute("update address_charges set charge_time = now() - interval '11 minutes'")
    await outbox.change(doubtful, "next_attempt_time = now() + interval '1 minute'")
    await outbox.enqueue_many(3, recipient_email=ANN)
    await send_all(outbox)
    await outbox.change(doubtful, "next_attempt_time = now()")
    assert await claim(outbox) == []
    row = await outbox.row(doubtful)
    assert (row["state"], row["digest_id"], row["rendered"]) == ("PENDING", None, CONTENT)
    await pass_time(outbox, "10 minutes")
    (again,) = await claim(outbox)
    assert (again.id, again.rendered) == (doubtful, CONTENT)


async def test_deleted_emails_still_count(outbox: Outbox) -> None:
    """Deleting a profile, with all its emails, frees nothing for its address."""
    user_id = await outbox.join("Ann", email=ANN)
    await outbox.enqueue_many(3, recipient_email=ANN, user_id=user_id)
    await send_all(outbox)
    await outbox.database.call("delete_profile", p_user_id=user_id)
    assert await outbox.sql.fetchval("select count(*) from notifications") == 0
    await outbox.enqueue(recipient_email=ANN)
    assert await claim(outbox) == []
    assert ANN.lower() not in str(await outbox.sql.fetch("select * from address_charges")).lower()


async def test_digest_leaves_out_what_is_over(outbox: Outbox) -> None:
    """What expired, was cancelled or is not wanted any more ends as such; a digest of nothing is not sent."""
    await outbox.enqueue_many(3, recipient_email=ANN)
    await send_all(outbox)
    late = await outbox.enqueue(recipient_email=ANN)
    off = await outbox.enqueue(recipient_email=ANN)
    assert await claim(outbox) == []
    await outbox.change(late, "expire_time = now() + interval '5 minutes'")
    await outbox.store.cancel(off)
    await pass_time(outbox, "10 minutes")
    assert await claim(outbox) == []
    assert await states(outbox, {late, off}) == {"EXPIRED": 1, "CANCELLED": 1}
    assert [each["state"] for each in await digests(outbox)] == ["CANCELLED"]


async def test_digest_that_is_deleted_releases_what_it_holds(outbox: Outbox) -> None:
    """Where two people share an address, deleting one of them loses nothing that was held for the other."""
    ann, ben = await outbox.join("Ann", email=ANN), await outbox.join("Ben", email=ANN)
    for user_id in (ann, ann, ann, ann, ben):
        mine = await outbox.enqueue(recipient_email=ANN, user_id=user_id)
    await send_all(outbox)
    assert [each["user_id"] for each in await digests(outbox)] == [ann]
    await outbox.database.call("delete_profile", p_user_id=ann)
    assert await claim(outbox) == []
    assert [each["user_id"] for each in await digests(outbox)] == [ben]
    await pass_time(outbox, "10 minutes")
    assert [each.user_id for each in await claim(outbox)] == [ben]
    assert await states(outbox, {mine}) == {"DIGESTED": 1}


async def test_held_email_stays_with_the_address_that_it_goes_to(outbox: Outbox) -> None:
    """A digest that follows its person to another address leaves to the old one what was held for it."""
    ann, ben = await outbox.join("Ann", email=ANN), await outbox.join("Ben", email=ANN)
    for user_id in (ann, ann, ann, ann, ben):
        await outbox.enqueue(recipient_email=ANN, user_id=user_id)
    await send_all(outbox)
    await outbox.join("Ann", user_id=ann, email="new@example.org")
    await pass_time(outbox, "10 minutes")
    assert {(each.user_id, each.recipient_email, each.kind) for each in await claim(outbox) + await claim(outbox)} == {
        (ann, "new@example.org", "DIGEST"),
        (ben, ANN, "MATCH_DECLINE"),
    }


async def test_person_without_digests_gets_none(outbox: Outbox) -> None:
    """Who turned digests off gets none, and what was held is SUPPRESSED."""
    user_id = await outbox.join("Ann", email=ANN)
    ids = await outbox.enqueue_many(4, recipient_email=ANN, user_id=user_id)
    await send_all(outbox)
    await outbox.store.unsubscribe(user_id, "DIGEST")
    assert not (await outbox.store.get_preferences(user_id)).digest_enabled
    await pass_time(outbox, "10 minutes")
    assert await claim(outbox) == []
    assert await states(outbox, ids) == {"SENT": 3, "SUPPRESSED": 1}


async def test_cancelled_digest_takes_along_what_it_holds(outbox: Outbox) -> None:
    """Cancelling a digest cancels what waits for it, so that nothing waits for ever."""
    ids = await outbox.enqueue_many(5, recipient_email=ANN)
    await send_all(outbox)
    (digest,) = await digests(outbox)
    await outbox.store.cancel(digest["id"])
    assert await states(outbox, ids) == {"SENT": 3, "CANCELLED": 2}


async def test_what_comes_while_a_digest_waits_goes_into_it(outbox: Outbox) -> None:
    """Once the address is free the digest goes first, with all that came meanwhile."""
    await outbox.enqueue_many(4, recipient_email=ANN)
    await send_all(outbox)
    (digest,) = await digests(outbox)
    await pass_time(outbox, "10 minutes")
    await outbox.change(digest["id"], "next_attempt_time = now() + interval '1 second'")
    await outbox.enqueue_many(2, recipient_email=ANN)
    assert await claim(outbox) == []
    await outbox.change(digest["id"], "next_attempt_time = now()")
    (sent,) = await send_all(outbox)
    assert (sent.kind, sent.payload) == ("DIGEST", {"answers": 3})


async def test_locked_part_of_a_digest_is_waited_for(outbox: Outbox) -> None:
    """A digest whose part is just being changed waits a second, and holds up nobody who changes it."""
    await outbox.enqueue_many(4, recipient_email=ANN)
    await send_all(outbox)
    await pass_time(outbox, "10 minutes")
    async with outbox.sql.transaction():
        await outbox.sql.execute("select from notifications where digest_id is not null for update")
        assert await claim(outbox) == []
    (digest,) = await digests(outbox)
    due = datetime.fromisoformat(digest["next_attempt_time"]) - await outbox.sql.fetchval("select now()")
    assert 0 < due.total_seconds() <= 1
    await outbox.change(digest["id"], "next_attempt_time = now()")
    assert [each.kind for each in await claim(outbox)] == ["DIGEST"]


@pytest.mark.parametrize(("locale", "subject"), [("en", "More waits for you"), ("de-AT", "wartet noch mehr auf dich")])
async def test_digest_is_rendered_in_the_persons_language(
    outbox: Outbox, journal: Journal, locale: str, subject: str
) -> None:
    """The dispatcher sends the digest, in the language of the person, with counts and without anybody's words."""
    user_id = await outbox.join("Ann", email=ANN, locale=locale)
    await outbox.enqueue_many(3, recipient_email=ANN, user_id=user_id)
    await send_all(outbox)
    for _ in range(2):
        await outbox.enqueue(recipient_email=ANN, user_id=user_id, **INVITATION)
    assert await claim(outbox) == []
    await pass_time(outbox, "10 minutes")
    provider = Provider()
    async with running(create_dispatcher(outbox, provider)):
        await journal.seen("notification_attempted")
    mail = provider.attempts.get_nowait()
    assert subject in mail.subject
    assert (mail.recipient_email, mail.kind) == (ANN, "DIGEST")
    assert ": 2\n" in mail.text
    assert "Eve" not in mail.text + mail.html


async def test_charges_are_purged_after_a_day(outbox: Outbox) -> None:
    """What no limit counts any more is deleted."""
    await outbox.enqueue(recipient_email=ANN)
    await send_all(outbox)
    await outbox.store.purge_charges()
    assert await outbox.sql.fetchval("select count(*) from address_charges") == 1
    await pass_time(outbox, "25 hours")
    await outbox.store.purge_charges()
    assert await outbox.sql.fetchval("select count(*) from address_charges") == 0
