"""Mails about meet-ups: reminders at their times, in the zones of those who get them, and nothing that is not true."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from support.outbox import Journal, Outbox, Provider, create_dispatcher, running
from wingmanmatch_server.notification.rows import ClaimedNotification

ZONES = {"Ann": "Europe/Berlin", "Ben": "America/New_York"}
CONTENT = {"subject": "as rendered"}


class Meetup:
    """Ann and Ben, matched, with a meet-up on a day on which clocks change."""

    def __init__(self, outbox: Outbox, people: dict[str, str], meetup: dict[str, Any]) -> None:
        """Keep who meets, and what was agreed on."""
        self.outbox = outbox
        self.people = people
        self.id = meetup["id"]
        self.match_id = meetup["match_id"]
        self.time = datetime.fromisoformat(meetup["scheduled_time"])

    async def do(self, function: str, **parameters: Any) -> None:
        """Let Ann do something about it."""
        await self.outbox.database.call(function, p_user_id=self.people["Ann"], **parameters)

    async def move(self) -> None:
        """Meet an hour later."""
        later = (self.time + timedelta(hours=1)).isoformat()
        await self.do("reschedule_meetup", p_meetup_id=self.id, p_scheduled_time=later)

    async def cancel(self) -> None:
        """Call it off."""
        await self.do("cancel_meetup", p_meetup_id=self.id)

    async def end_match(self) -> None:
        """Part for good."""
        await self.do("end_match", p_match_id=self.match_id)

    async def mails(self, name: str, state: str = "PENDING", kind: str = "SESSION_REMINDER") -> list[dict[str, Any]]:
        """Return a person's mails of a kind in a state, the earliest first."""
        query = "select id from notifications where user_id = $1 and state = $2 and kind = $3 order by send_time"
        rows = await self.outbox.sql.fetch(query, uuid.UUID(self.people[name]), state, kind)
        return [await self.outbox.row(str(row["id"])) for row in rows]

    async def tell(self) -> None:
        """Let everybody have got the emails about changes that wait."""
        await self.outbox.sql.execute(
            "update notifications set state = 'SENT', sent_time = now()"
            " where state = 'PENDING' and kind <> 'SESSION_REMINDER'"
        )

    async def fall_due(self) -> None:
        """Let the time come for every mail that waits."""
        await self.outbox.sql.execute("update notifications set next_attempt_time = now() where state = 'PENDING'")

    async def claim(self, kind: str) -> list[ClaimedNotification]:
        """Lease what waits of a kind, and leave the rest."""
        await self.outbox.sql.execute("update notifications set state = 'CANCELLED' where kind <> $1", kind)
        await self.fall_due()
        return list((await self.outbox.store.claim("one", 20, 60.0)).notifications)


def day_of_change(zone: ZoneInfo) -> datetime:
    """Return 15:00 of the next day, three or more ahead, on which clocks in a zone change."""
    start = datetime.now(zone).replace(hour=15, minute=0, second=0, microsecond=0)
    days = (start + timedelta(days=ahead) for ahead in range(3, 366))
    return next(day for day in days if day.utcoffset() != (day - timedelta(days=1)).utcoffset())


@pytest.fixture
async def meetup(outbox: Outbox) -> Meetup:
    """The meet-up."""
    people = {name: await outbox.join(name, time_zone=zone, locale="en") for name, zone in ZONES.items()}
    asked = await outbox.database.call("request_match", p_user_id=people["Ann"], p_candidate_user_id=people["Ben"])
    match_id = asked["match"]["id"]
    answer = {"p_match_id": match_id, "p_user_id": people["Ben"], "p_response": "ACCEPT"}
    await outbox.database.call("respond_to_match", **answer)
    agreed = await outbox.database.call(
        "schedule_meetup",
        p_match_id=match_id,
        p_user_id=people["Ann"],
        p_venue_name="Café Central",
        p_scheduled_time=day_of_change(ZoneInfo(ZONES["Ann"])).isoformat(),
    )
    return Meetup(outbox, people, agreed["meetup"])


def hours_before(meetup: Meetup, mails: list[dict[str, Any]], field: str = "send_time") -> list[float]:
    """Return how long before the meeting the times of mails are."""
    return [(meetup.time - datetime.fromisoformat(mail[field])).total_seconds() / 3600 for mail in mails]


async def test_reminders_come_24_and_2_hours_before(meetup: Meetup) -> None:
    """Each person is reminded twice, by the clock that never changes; the first gives way once the second is due."""
    for name in ZONES:
        reminders = await meetup.mails(name)
        assert hours_before(meetup, reminders) == [24, 2]
        assert hours_before(meetup, reminders, "expire_time") == [2, 0]


async def test_times_are_told_in_the_zone_of_who_reads(meetup: Meetup, journal: Journal) -> None:
    """The day before clocks change a reminder tells the hour that they will show: 15:00 in Berlin, and Ben's own."""
    await meetup.claim("SESSION_REMINDER")
    await meetup.outbox.store.release("one")
    provider = Provider()
    async with running(create_dispatcher(meetup.outbox, provider)):
        await journal.seen("notification_attempted", 4)
    sent = [provider.attempts.get_nowait() for _ in range(4)]
    told = {mail.recipient_email: mail.text for mail in sent}
    for name, zone in ZONES.items():
        local = meetup.time.astimezone(ZoneInfo(zone))
        expected = f"{local:%a} {local.day} {local:%b %Y, %H:%M %Z}"
        assert f"When: {expected}\n" in told[f"{name.lower()}@example.org"]
    assert "15:00 CE" in told["ann@example.org"]


async def test_reminders_move_along(meetup: Meetup) -> None:
    """In the transaction that moves a meet-up the old reminders go and new ones come."""
    await meetup.move()
    for name in ZONES:
        assert hours_before(meetup, await meetup.mails(name)) == [23, 1]
        assert hours_before(meetup, await meetup.mails(name, "CANCELLED")) == [24, 2]


@pytest.mark.parametrize("end", [Meetup.cancel, Meetup.end_match])
async def test_reminders_go_with_the_meetup(meetup: Meetup, end: Callable[[Meetup], Any]) -> None:
    """What is called off has no reminders, and both are told."""
    await meetup.tell()
    await end(meetup)
    for name in ZONES:
        assert await meetup.mails(name) == []
        assert len(await meetup.mails(name, kind="MEETUP_CANCELLED")) == 1


@pytest.mark.parametrize("kind", ["SESSION_REMINDER", "MEETUP_SCHEDULED"])
@pytest.mark.parametrize("change", [Meetup.move, Meetup.cancel, Meetup.end_match])
async def test_mail_on_lease_is_withheld_once_untrue(
    meetup: Meetup, kind: str, change: Callable[[Meetup], Any]
) -> None:
    """What a dispatcher held while the meet-up changed is stopped by the last look; the news of the change go out."""
    on_lease = await meetup.claim(kind)
    assert on_lease
    await change(meetup)
    for claimed in on_lease:
        assert await meetup.outbox.store.begin_delivery(claimed, CONTENT, 60.0) is None
        assert (await meetup.outbox.row(claimed.id))["state"] == "CANCELLED"
    news = await meetup.claim("MEETUP_MOVED" if change is Meetup.move else "MEETUP_CANCELLED")
    assert len(news) == 2
    assert all([await meetup.outbox.store.begin_delivery(each, CONTENT, 60.0) for each in news])


@pytest.mark.parametrize("kind", ["SESSION_REMINDER", "MEETUP_SCHEDULED"])
async def test_true_mail_goes_out(meetup: Meetup, kind: str) -> None:
    """While the meet-up is as it says, a mail is cleared."""
    for claimed in await meetup.claim(kind):
        assert await meetup.outbox.store.begin_delivery(claimed, CONTENT, 60.0) is not None


async def test_news_of_a_change_are_outdated_by_the_next(meetup: Meetup) -> None:
    """Of two moves only the second is told; back on the old time is a change of its own."""
    await meetup.tell()
    await meetup.move()
    first = await meetup.claim("MEETUP_MOVED")
    await meetup.do("reschedule_meetup", p_meetup_id=meetup.id, p_scheduled_time=meetup.time.isoformat())
    assert [await meetup.outbox.store.begin_delivery(each, CONTENT, 60.0) for each in first] == [None] * 2
    second = await meetup.claim("MEETUP_MOVED")
    assert len(second) == 2
    assert all([await meetup.outbox.store.begin_delivery(each, CONTENT, 60.0) for each in second])


async def test_late_reminder_is_not_sent(meetup: Meetup, journal: Journal) -> None:
    """After an outage what is late has expired, and only what is still of use goes out."""
    await meetup.claim("SESSION_REMINDER")
    await meetup.outbox.store.release("one")
    late = (await meetup.mails("Ann"))[0]
    await meetup.outbox.change(late["id"], "expire_time = now()")
    provider = Provider()
    async with running(create_dispatcher(meetup.outbox, provider)):
        await journal.seen("notification_attempted", 3)
    assert (await meetup.outbox.row(late["id"]))["state"] == "EXPIRED"
    assert provider.attempts.qsize() == 3


async def test_what_is_near_has_fewer_reminders(meetup: Meetup) -> None:
    """Of a meet-up in three hours there is one reminder to come, of one in an hour none."""
    for hours, reminders in ((3, [2.0]), (1, [])):
        soon = datetime.now(UTC) + timedelta(hours=hours)
        meetup.time = soon
        await meetup.do("reschedule_meetup", p_meetup_id=meetup.id, p_scheduled_time=soon.isoformat())
        assert hours_before(meetup, await meetup.mails("Ben")) == reminders
