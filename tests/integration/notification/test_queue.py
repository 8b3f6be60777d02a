"""Mails asked for by back ends: how many may wait, what may be called off, what may be sent again."""

import asyncio

import pytest

from support.outbox import Outbox
from wingmanmatch_server import errors

DECLINE = {"decliner_name": "Ben"}


async def test_full_queue_takes_no_more(outbox: Outbox) -> None:
    """Once as many mails wait as may, the next is refused with a time to come back; mails for later do not count."""
    address = {"recipient_email": "ann@example.org", "queue_limit": 3}
    for _ in range(3):
        await outbox.store.send("MATCH_DECLINE", DECLINE, send_time="2100-01-01T00:00:00Z", **address)
        await outbox.store.send("MATCH_DECLINE", DECLINE, **address)
    with pytest.raises(errors.ResourceExhausted) as caught:
        await outbox.store.send("MATCH_DECLINE", DECLINE, **address)
    assert (caught.value.reason, caught.value.retry_after) == ("NOTIFICATION_QUEUE_FULL", 30.0)
    # What the domain has to tell is told all the same.
    await outbox.enqueue()


async def test_cancel_races_with_claims(outbox: Outbox) -> None:
    """Of 300 mails cancelled while they are claimed, each is either cancelled or refused as under way."""
    ids = await outbox.enqueue_many(300)
    claims = [asyncio.create_task(outbox.store.claim(f"owner-{n}", 10, 60.0)) for n in range(15)]
    answers = await asyncio.gather(*(outbox.store.cancel(each) for each in ids), return_exceptions=True)
    claimed = {each.id for claim in await asyncio.gather(*claims) for each in claim.notifications}
    cancelled = {each for each, answer in zip(ids, answers, strict=True) if not isinstance(answer, BaseException)}
    refused = [answer for answer in answers if isinstance(answer, errors.FailedPrecondition)]
    assert cancelled | claimed == ids
    assert not cancelled & claimed
    assert {error.reason for error in refused} == ({"NOTIFICATION_IN_FLIGHT"} if refused else set())


@pytest.mark.parametrize(
    ("arrangement", "reason"),
    [
        ("ambiguous = true", "NOTIFICATION_IN_FLIGHT"),
        ("state = 'SENT'", "NOTIFICATION_STATE_INVALID"),
        ("state = 'DELIVERED'", "NOTIFICATION_STATE_INVALID"),
        ("state = 'REVIEW'", "NOTIFICATION_STATE_INVALID"),
    ],
)
async def test_cancel_promises_nothing_it_cannot_keep(outbox: Outbox, arrangement: str, reason: str) -> None:
    """A mail that may be out is not called off."""
    notification_id = await outbox.enqueue()
    await outbox.change(notification_id, arrangement)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await outbox.store.cancel(notification_id)
    assert caught.value.reason == reason


@pytest.mark.parametrize("state", ["DEAD", "REVIEW"])
async def test_retry_is_a_mail_of_its_own(outbox: Outbox, state: str) -> None:
    """What was given up goes out under a new key with new content; twice at once is once."""
    notification_id = await outbox.enqueue()
    await outbox.change(
        notification_id,
        f"state = '{state}', ambiguous = true, rendered = '{{}}', first_attempt_time = now() - interval '2 days'",
    )
    answers = await asyncio.gather(*(outbox.store.retry(notification_id) for _ in range(5)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    [claimed] = (await outbox.store.claim("one", 5, 60.0)).notifications
    assert claimed.rendered is None
    clearance = await outbox.store.begin_delivery(claimed, {"subject": "again"}, 60.0)
    assert clearance is not None
    assert clearance.idempotency_key.endswith("/g2")
