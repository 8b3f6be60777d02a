"""Changes of one meetup that follow each other: one email to each person, about what they were not told yet."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from integration.notification.test_meetups import Meetup, meetup
from wingmanmatch_server import errors
from wingmanmatch_server.meetup.store import MeetupStore

__all__ = ["meetup"]
PEOPLE = ("Ann", "Ben")


async def waiting(meetup: Meetup, name: str) -> list[dict[str, Any]]:
    """Return the emails about changes that wait for a person."""
    kinds = ("MEETUP_SCHEDULED", "MEETUP_MOVED", "MEETUP_CANCELLED")
    return [mail for kind in kinds for mail in await meetup.mails(name, kind=kind)]


async def move_by(meetup: Meetup, hours: float, name: str = "Ann", **more: Any) -> None:
    """Let one of the two move the meetup to so many hours after the time first agreed on."""
    time = (meetup.time + timedelta(hours=hours)).isoformat()
    by = meetup.people[name]
    parameters = {"p_meetup_id": meetup.id, "p_user_id": by, "p_scheduled_time": time} | more
    await meetup.outbox.database.call("reschedule_meetup", **parameters)


def delay(mail: dict[str, Any]) -> float:
    """Return for how many seconds an email waits from when it was written."""
    send, create = (datetime.fromisoformat(mail[name]) for name in ("send_time", "create_time"))
    return (send - create).total_seconds()


async def test_change_waits_for_two_minutes(meetup: Meetup) -> None:
    """An email about a change is due two minutes after it."""
    for name in PEOPLE:
        assert [delay(mail) for mail in await waiting(meetup, name)] == [120]


async def test_what_nobody_was_told_yet_is_one_email(meetup: Meetup) -> None:
    """Scheduled and moved by both within two minutes is scheduled as it is now, due when the first email was."""
    (first,) = await waiting(meetup, "Ben")
    await move_by(meetup, 1)
    await move_by(meetup, 2, "Ben", p_venue_name="Augarten")
    for name in PEOPLE:
        (mail,) = await waiting(meetup, name)
        assert mail["kind"] == "MEETUP_SCHEDULED"
        assert datetime.fromisoformat(mail["payload"]["scheduled_time"]) == meetup.time + timedelta(hours=2)
        assert (mail["payload"]["venue_name"], mail["payload"]["sequence"]) == ("Augarten", 2)
        assert "previous_time" not in mail["payload"]
        assert mail["send_time"] == first["send_time"]


async def test_moves_are_one_email_from_what_was_told(meetup: Meetup) -> None:
    """Of several moves one email tells the last state, beside the one that the person was told last."""
    await meetup.tell()
    for hours in (1, 2, 3):
        await move_by(meetup, hours)
    (mail,) = await waiting(meetup, "Ben")
    assert mail["kind"] == "MEETUP_MOVED"
    assert datetime.fromisoformat(mail["payload"]["previous_time"]) == meetup.time
    assert datetime.fromisoformat(mail["payload"]["scheduled_time"]) == meetup.time + timedelta(hours=3)
    assert mail["payload"]["sequence"] == 3


async def test_move_there_and_back_is_no_email(meetup: Meetup) -> None:
    """Who was told of neither move gets nothing: what the person knows is right again, and the reminders stand."""
    await meetup.tell()
    await move_by(meetup, 1)
    await move_by(meetup, 0)
    for name in PEOPLE:
        assert await waiting(meetup, name) == []
        assert len(await meetup.mails(name)) == 2


async def test_cancelled_before_it_was_told_is_no_email(meetup: Meetup) -> None:
    """A meetup that was scheduled, moved and cancelled within two minutes is never spoken of."""
    await move_by(meetup, 1)
    await meetup.cancel()
    for name in PEOPLE:
        assert await waiting(meetup, name) == []
        assert await meetup.mails(name) == []


async def test_cancelling_replaces_a_move(meetup: Meetup) -> None:
    """Who knows of the meetup is told that it is off, and not that it moved before."""
    await meetup.tell()
    await move_by(meetup, 1)
    await meetup.cancel()
    for name in PEOPLE:
        assert [mail["kind"] for mail in await waiting(meetup, name)] == ["MEETUP_CANCELLED"]


async def test_email_that_may_be_out_is_not_replaced(meetup: Meetup) -> None:
    """Where an attempt may have reached the person, the change has an email of its own."""
    for name in PEOPLE:
        (mail,) = await waiting(meetup, name)
        await meetup.outbox.change(mail["id"], "ambiguous = true")
    await meetup.cancel()
    for name in PEOPLE:
        assert [mail["kind"] for mail in await waiting(meetup, name)] == ["MEETUP_CANCELLED"]


@pytest.mark.parametrize("change", [lambda meetup: move_by(meetup, 1), Meetup.cancel])
async def test_change_of_what_begins_soon_is_told_at_once(
    meetup: Meetup, change: Callable[[Meetup], Awaitable[None]]
) -> None:
    """Less than half an hour before the meetup an email about a change waits for nothing."""
    await meetup.tell()
    await meetup.outbox.sql.execute("update meetups set scheduled_time = now() + interval '29 minutes'")
    await change(meetup)
    for name in PEOPLE:
        assert [delay(mail) for mail in await waiting(meetup, name)] == [0]


async def test_meetup_moves_five_times_a_day(meetup: Meetup) -> None:
    """The sixth move within 24 hours, by whomever, changes nothing and says when; the fifth can be repeated."""
    store, (ann, ben) = MeetupStore(meetup.outbox.database), (meetup.people[name] for name in PEOPLE)
    request_id = str(uuid.uuid4())
    for hours, by in ((1, ann), (2, ben), (3, ann), (4, ben)):
        time = (meetup.time + timedelta(hours=hours)).isoformat()
        await store.reschedule_meetup(meetup.id, by, scheduled_time=time)
    fifth = await store.reschedule_meetup(meetup.id, ann, venue_name="Augarten", request_id=request_id)
    for by in (ann, ben):
        with pytest.raises(errors.ResourceExhausted) as refused:
            await store.reschedule_meetup(meetup.id, by, venue_name="Prater")
        assert refused.value.reason == "MEETUP_MOVED_TOO_OFTEN"
        assert 86_000 < (refused.value.retry_after or 0) <= 86_400
    assert await store.get_meetup(meetup.id, ann) == fifth
    assert await store.reschedule_meetup(meetup.id, ann, venue_name="Augarten", request_id=request_id) == fifth
    # What changes nothing is no move.
    assert await store.reschedule_meetup(meetup.id, ann, venue_name="Augarten") == fifth
    await meetup.outbox.sql.execute(
        "update meetups set move_times = array(select t - interval '24 hours' from unnest(move_times) t)"
    )
    assert (await store.reschedule_meetup(meetup.id, ben, venue_name="Prater")).venue_name == "Prater"
