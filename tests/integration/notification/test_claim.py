"""Who may send a mail, when, and with what content."""

import asyncio
import uuid
from itertools import chain

import pytest

from support.outbox import Outbox
from wingmanmatch_server.notification.rows import ClaimedNotification

LEASE = 60.0
CONTENT = {"subject": "first", "html": "<p>\u00e9 \U0001f642</p>\n"}


async def claim_one(outbox: Outbox, owner: str = "one") -> ClaimedNotification:
    """Claim the only mail that is due."""
    claim = await outbox.store.claim(owner, 10, LEASE)
    assert len(claim.notifications) == 1
    return claim.notifications[0]


async def test_no_mail_is_claimed_twice(outbox: Outbox) -> None:
    """Four claimers at once share 200 due mails: each mail goes to exactly one of them."""
    waiting = await outbox.enqueue_many(200)

    async def claim_all(owner: str) -> list[str]:
        mine: list[str] = []
        while claimed := (await outbox.store.claim(owner, 7, LEASE)).notifications:
            mine += [notification.id for notification in claimed]
        return mine

    shares = await asyncio.gather(*(claim_all(f"claimer {number}") for number in range(4)))
    assert sorted(chain.from_iterable(shares)) == sorted(waiting)
    assert all(shares)


async def test_claim_keeps_its_limit_and_the_order_of_due_times(outbox: Outbox) -> None:
    """The mails longest due come first, and never more than asked for."""
    ids = [await outbox.enqueue() for _ in range(5)]
    claim = await outbox.store.claim("one", 3, LEASE)
    assert [notification.id for notification in claim.notifications] == ids[:3]
    assert claim.next_due_seconds == 0


async def test_lease_keeps_others_away_until_it_lapses(outbox: Outbox) -> None:
    """A claimed mail is nobody else's; once the lease has run out, the next claimer holds it under a higher epoch."""
    notification_id = await outbox.enqueue()
    first = await claim_one(outbox)
    assert (await outbox.store.claim("two", 10, LEASE)).notifications == ()
    await outbox.lapse(notification_id)
    second = await claim_one(outbox, "two")
    assert second.epoch > first.epoch
    assert (await outbox.row(notification_id))["lease_owner"] == "two"


async def test_who_lost_the_lease_can_change_nothing(outbox: Outbox) -> None:
    """Under an old epoch nothing is cleared for sending and no outcome is recorded."""
    notification_id = await outbox.enqueue()
    lost = await claim_one(outbox)
    await outbox.lapse(notification_id)
    await claim_one(outbox, "two")
    before = await outbox.row(notification_id)
    assert await outbox.store.begin_delivery(lost, CONTENT, LEASE) is None
    assert await outbox.store.finish(lost, "ACCEPTED") is None
    assert await outbox.row(notification_id) == before


async def test_content_and_key_of_the_first_attempt_stay(outbox: Outbox) -> None:
    """Whoever sends the mail later, and whatever they rendered, it is the first content under the first key."""
    notification_id = await outbox.enqueue()
    first = await outbox.store.begin_delivery(await claim_one(outbox), CONTENT, LEASE)
    await outbox.lapse(notification_id)
    taken_over = await claim_one(outbox, "two")
    second = await outbox.store.begin_delivery(taken_over, {"subject": "second"}, LEASE)
    assert first is not None
    assert second is not None
    assert taken_over.rendered == first.rendered == second.rendered == CONTENT
    assert first.idempotency_key == second.idempotency_key == f"ntf/{notification_id}/g1"
    assert [first.attempt_count, second.attempt_count] == [1, 2]


async def test_clearance_renews_the_lease(outbox: Outbox) -> None:
    """However late a delivery begins, a whole lease lies before it."""
    notification_id = await outbox.enqueue()
    claimed = await claim_one(outbox)
    await outbox.change(notification_id, "lease_expire_time = now() + interval '1 second'")
    await outbox.store.begin_delivery(claimed, CONTENT, LEASE)
    left = "select extract(epoch from lease_expire_time - now()) > 50 from notifications where id = $1"
    assert await outbox.sql.fetchval(left, uuid.UUID(notification_id))


@pytest.mark.parametrize("begun", [True, False])
async def test_vanished_worker_leaves_doubt_if_it_had_begun(outbox: Outbox, begun: bool) -> None:  # noqa: FBT001
    """A lapsed lease makes a mail ambiguous exactly where a delivery may have begun."""
    notification_id = await outbox.enqueue()
    claimed = await claim_one(outbox)
    if begun:
        await outbox.store.begin_delivery(claimed, CONTENT, LEASE)
    await outbox.lapse(notification_id)
    await claim_one(outbox, "two")
    assert (await outbox.row(notification_id))["ambiguous"] is begun


async def test_later_mail_waits_for_its_time(outbox: Outbox) -> None:
    """A mail with a later send_time is SCHEDULED, is not claimed, and is announced to who asks when the next is due."""
    later = await outbox.sql.fetchval("select (now() + interval '1 hour')::text")
    notification_id = await outbox.enqueue(send_time=later)
    claim = await outbox.store.claim("one", 10, LEASE)
    assert claim.notifications == ()
    assert claim.next_due_seconds == pytest.approx(3600, abs=10)
    assert (await outbox.store.get_notification(notification_id)).state == "SCHEDULED"


async def test_nothing_waiting_is_never_due(outbox: Outbox) -> None:
    """An empty outbox names no time."""
    assert (await outbox.store.claim("one", 10, LEASE)).next_due_seconds is None


async def test_expired_mail_is_not_claimed(outbox: Outbox) -> None:
    """A mail past its expire_time ends as EXPIRED, in place of being sent late."""
    notification_id = await outbox.enqueue(expire_time=await outbox.sql.fetchval("select now()::text"))
    assert (await outbox.store.claim("one", 10, LEASE)).notifications == ()
    row = await outbox.row(notification_id)
    assert (row["state"], row["lease_owner"]) == ("EXPIRED", None)


async def test_mail_that_expires_after_its_claim_is_withheld(outbox: Outbox) -> None:
    """The last look before sending sees the time that has passed since the claim."""
    notification_id = await outbox.enqueue()
    claimed = await claim_one(outbox)
    await outbox.change(notification_id, "expire_time = now()")
    assert await outbox.store.begin_delivery(claimed, CONTENT, LEASE) is None
    assert (await outbox.row(notification_id))["state"] == "EXPIRED"


async def test_released_mails_are_free_at_once(outbox: Outbox) -> None:
    """What an owner gives back can be claimed by others without waiting; other owners' leases stay."""
    released = await outbox.enqueue()
    mine = await claim_one(outbox)
    await outbox.enqueue()
    await claim_one(outbox, "two")
    assert await outbox.store.release("one") == 1
    assert (await claim_one(outbox, "three")).id == released
    assert await outbox.store.finish(mine, "ACCEPTED") is None


async def test_old_doubt_is_for_a_person_to_settle(outbox: Outbox) -> None:
    """A mail that may have gone out is not repeated once the provider may have forgotten its key."""
    notification_id = await outbox.enqueue()
    await outbox.store.begin_delivery(await claim_one(outbox), CONTENT, LEASE)
    await outbox.lapse(notification_id)
    await outbox.change(notification_id, "first_attempt_time = now() - interval '23 hours 1 minute'")
    assert (await outbox.store.claim("two", 10, LEASE)).notifications == ()
    assert (await outbox.row(notification_id))["state"] == "REVIEW"
