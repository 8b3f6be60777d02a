"""Mails for later go to a person as the profile has it on the day."""

import uuid
from typing import Any

import pytest

from support.outbox import Outbox

PROFILE = {"email": "ann@example.org", "first_name": "Ann", "time_zone": "Europe/Vienna", "locale": "de-AT"}
MOVED = {"email": "anna@example.com", "first_name": "Anna", "time_zone": "America/New_York", "locale": "en"}
REMINDER = {"partner_name": "Ben", "scheduled_time": "2027-03-28T13:00:00Z"}
CONTENT = {"subject": "as rendered"}


@pytest.fixture
async def ann(outbox: Outbox) -> str:
    """A person with a profile."""
    return await outbox.join(**PROFILE)


async def move(outbox: Outbox, user_id: str) -> None:
    """Change all of a profile that mails use."""
    await outbox.join(user_id=user_id, **MOVED)


async def remind(outbox: Outbox, user_id: str, **parameters: Any) -> str:
    """Write a reminder for later."""
    defaults = {"recipient_email": None, "kind": "SESSION_REMINDER", "payload": REMINDER}
    return await outbox.enqueue(user_id=user_id, send_time="2027-03-27T13:00:00Z", **defaults | parameters)


def addressed(row: dict[str, Any]) -> dict[str, str]:
    """Return to whom a mail goes, under the names of the profile."""
    return {
        "email": row["recipient_email"],
        "first_name": row["recipient_name"],
        "time_zone": row["payload"]["time_zone"],
        "locale": row["locale"],
    }


async def test_waiting_mail_follows_the_profile(outbox: Outbox, ann: str) -> None:
    """Address, name, zone and language of a mail that waits are those of the profile, before and after a change."""
    waiting = await remind(outbox, ann)
    assert addressed(await outbox.row(waiting)) == PROFILE
    await move(outbox, ann)
    assert addressed(await outbox.row(waiting)) == MOVED


async def test_what_was_given_for_one_mail_stays(outbox: Outbox, ann: str) -> None:
    """An address or a zone that the profile never had is not touched."""
    waiting = await remind(
        outbox, ann, recipient_email="office@example.org", payload=REMINDER | {"time_zone": "Asia/Tokyo"}
    )
    await move(outbox, ann)
    kept = {"email": "office@example.org", "time_zone": "Asia/Tokyo"}
    assert addressed(await outbox.row(waiting)) == MOVED | kept


@pytest.mark.parametrize("arrangement", ["rendered = '{}'", "state = 'SENT'", "state = 'CANCELLED'"])
async def test_what_was_rendered_or_is_over_stays(outbox: Outbox, ann: str, arrangement: str) -> None:
    """Every attempt of a mail goes to one address, and the past is not rewritten."""
    notification_id = await remind(outbox, ann)
    await outbox.change(notification_id, arrangement)
    await move(outbox, ann)
    assert addressed(await outbox.row(notification_id)) == PROFILE


async def test_others_mails_stay(outbox: Outbox, ann: str) -> None:
    """Another person's mails are nobody else's business, be they to the same address."""
    other = await remind(outbox, str(uuid.uuid4()), recipient_email=PROFILE["email"])
    await move(outbox, ann)
    assert (await outbox.row(other))["recipient_email"] == PROFILE["email"]
