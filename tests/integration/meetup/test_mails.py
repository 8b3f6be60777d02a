"""The mails about a meet-up: rows of the transaction that schedules, moves or calls off, and gone with the next one."""

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.people import People, in_hours
from wingmanmatch_server.matching.rows import Match
from wingmanmatch_server.meetup.rows import Meetup
from wingmanmatch_server.notification.render import Recipient, Renderer, create_environment

Json = dict[str, Any]


@pytest.fixture
async def match(people: People) -> Match:
    """Ann in Vienna and Ben in New York, whose match is accepted."""
    ann = await people.join(first_name="Ann", email=f"ann+{people.new_id()}@example.org", locale="de-AT")
    ben = await people.join(
        first_name="Ben", email=f"ben+{people.new_id()}@example.org", locale="en", time_zone="America/New_York"
    )
    return await people.match(ann, ben)


async def mails(people: People, match: Match, *, state: str = "PENDING") -> list[Json]:
    """Return the mails about a match's meet-ups that are in a state, by the time at which they go, then by name."""
    rows = await people.sql.fetch(
        """select to_jsonb(n)::text as mail from notifications n
        where match_id = $1 and state = $2 and payload ? 'meetup_id' order by send_time, recipient_name""",
        uuid.UUID(match.id),
        state,
    )
    return [json.loads(row["mail"]) for row in rows]


def told(mail: Json) -> tuple[str, str, int]:
    """Return what kind of mail goes to whom, about which version."""
    return mail["kind"], mail["recipient_name"], mail["payload"]["sequence"]


def lead(mail: Json, meetup: Meetup, field: str = "send_time") -> timedelta:
    """Return how long before the meet-up a time of a mail is."""
    return meetup.scheduled_time - datetime.fromisoformat(mail[field])


async def test_both_are_told_and_reminded(people: People, match: Match) -> None:
    """Two mails at once and two reminders each, late ones never: each has a moment after which it is not sent."""
    (challenge,) = await people.sql.fetch("select id::text, title from approach_challenges order by id limit 1")
    meetup = await people.schedule(match, match.invitee_id, invitee_challenge_id=challenge["id"])
    found = await mails(people, match)
    assert [told(mail) for mail in found] == [
        *((kind, name, 0) for kind in ("MEETUP_SCHEDULED", "SESSION_REMINDER", "SESSION_REMINDER") for name in NAMES)
    ]
    hours = [(lead(mail, meetup) / HOUR, lead(mail, meetup, "expire_time") / HOUR) for mail in found]
    assert hours[2:] == [(24, 2), (24, 2), (2, 0), (2, 0)]
    assert [late for _, late in hours[:2]] == [0, 0]
    for mail, (name, partner, zone) in zip(found, [("Ann", "Ben", VIENNA), ("Ben", "Ann", NEW_YORK)] * 3, strict=True):
        payload = mail["payload"]
        assert (mail["recipient_name"], payload["partner_name"], payload["time_zone"]) == (name, partner, zone)
        assert (payload["venue_name"], payload["meetup_id"]) == ("Prater", meetup.id)
        assert payload["challenge_title"] == (challenge["title"] if name == "Ben" else None)


HOUR = timedelta(hours=1)
NAMES = ("Ann", "Ben")
VIENNA, NEW_YORK = "Europe/Vienna", "America/New_York"


@pytest.mark.parametrize(("hours", "leads"), [(23.9, [2]), (1.9, []), (24.4, [2]), (24.6, [24, 2])])
async def test_reminders_whose_time_has_passed_are_not_written(
    people: People, match: Match, hours: float, leads: list[int]
) -> None:
    """Who agrees on a time so near is not reminded of it at once, nor within half an hour."""
    meetup = await people.schedule(match, match.requester_id, hours=hours)
    reminders = [mail for mail in await mails(people, match) if mail["kind"] == "SESSION_REMINDER"]
    assert [lead(mail, meetup) / HOUR for mail in reminders] == [each for each in leads for _ in NAMES]


async def test_move_replaces_what_waits(people: People, match: Match) -> None:
    """All that waited is dropped, both are told what it was and what it is, and the reminders are at the new time."""
    meetup = await people.schedule(match, match.requester_id)
    await people.tell()
    before = await mails(people, match)
    moved = await people.meetups.reschedule_meetup(
        meetup.id, match.invitee_id, scheduled_time=in_hours(100), venue_name="Augarten"
    )
    after = await mails(people, match)
    assert [mail["id"] for mail in await mails(people, match, state="CANCELLED")] == [mail["id"] for mail in before]
    assert [told(mail) for mail in after] == [
        (kind, name, 1) for kind in ("MEETUP_MOVED", "SESSION_REMINDER", "SESSION_REMINDER") for name in NAMES
    ]
    times = {datetime.fromisoformat(mail["payload"]["scheduled_time"]) for mail in after}
    assert times == {moved.scheduled_time}
    assert [lead(mail, moved) / HOUR for mail in after[2:]] == [24, 24, 2, 2]
    for mail in after[:2]:
        assert mail["payload"]["previous_venue_name"] == "Prater"
        assert datetime.fromisoformat(mail["payload"]["previous_time"]) == meetup.scheduled_time
    await people.tell()
    await people.meetups.reschedule_meetup(meetup.id, match.invitee_id, venue_name="Prater")
    third = next(mail["payload"] for mail in await mails(people, match) if mail["kind"] == "MEETUP_MOVED")
    assert (third["sequence"], third["previous_venue_name"], third.get("previous_time")) == (2, "Augarten", None)


async def test_cancellation_drops_the_reminders(people: People, match: Match) -> None:
    """All that waits is dropped but the word that it is off."""
    meetup = await people.schedule(match, match.requester_id)
    await people.tell()
    await people.meetups.cancel_meetup(meetup.id, match.invitee_id)
    assert [told(mail) for mail in await mails(people, match)] == [("MEETUP_CANCELLED", name, 1) for name in NAMES]


async def test_other_meetups_keep_their_mails(people: People, match: Match) -> None:
    """What is dropped is what speaks of the one meet-up."""
    other = await people.match(match.requester_id, await people.join(first_name="Cid"))
    await people.schedule(other, match.requester_id)
    meetup = await people.schedule(match, match.requester_id)
    await people.meetups.cancel_meetup(meetup.id, match.requester_id)
    assert len(await mails(people, other)) == 6


async def test_no_meetup_without_its_mails_and_no_change_without_them(people: People, match: Match) -> None:
    """Where a mail cannot be written nothing happens, and the mails that waited go on waiting."""
    meetup = await people.schedule(match, match.requester_id)
    before = await mails(people, match)
    await people.sql.execute("alter table notifications add constraint full_up check (false) not valid")
    try:
        for call in (
            people.meetups.reschedule_meetup(meetup.id, match.requester_id, venue_name="Augarten"),
            people.meetups.cancel_meetup(meetup.id, match.requester_id),
            people.store.end_match(match.id, match.requester_id),
        ):
            with pytest.raises(Exception, match="full_up"):
                await call
    finally:
        await people.sql.execute("alter table notifications drop constraint full_up")
    assert await mails(people, match) == before
    assert (await people.meetups.get_meetup(meetup.id, match.requester_id)) == meetup
    assert (await people.store.get_match(match.id, match.requester_id)).state == "ACCEPTED"


async def test_late_reminders_expire(people: People, match: Match) -> None:
    """After an outage the reminder of the day before gives way to that of two hours, and at the start all to none."""
    meetup = await people.schedule(match, match.requester_id)
    states = []
    for passed in (timedelta(hours=48), timedelta(hours=22), timedelta(hours=2)):
        await people.let_pass(passed)
        claimed = await people.store._database.call(
            "claim_notifications", p_owner="test", p_limit=1000, p_lease_seconds=0.0
        )
        mine = [each for each in claimed["notifications"] if each["match_id"] == match.id]
        states.append(sorted((each["kind"], each["recipient_name"]) for each in mine))
    reminded = [("SESSION_REMINDER", name) for name in NAMES]
    scheduled = [("MEETUP_SCHEDULED", name) for name in NAMES]
    # What was claimed is claimed anew, its lease having ended: only what is late leaves the list.
    accepted = [("MATCH_ACCEPTANCE", "Ann")]
    assert states == [accepted + scheduled + reminded, accepted + scheduled + reminded, accepted]
    late = await people.sql.fetchval(
        "select count(*) from notifications where match_id = $1 and state = 'EXPIRED' and payload ? 'meetup_id'",
        uuid.UUID(match.id),
    )
    assert late == 6
    assert (await people.meetups.get_meetup(meetup.id, match.requester_id)).state == "SCHEDULED"


@pytest.mark.parametrize(
    ("time", "ann", "ben"),
    [
        ("2036-03-09T12:00:00Z", "So., 9. März 2036, 13:00 MEZ", "Sun 9 Mar 2036, 08:00 EDT"),
        ("2036-03-30T12:00:00Z", "So., 30. März 2036, 14:00 MESZ", "Sun 30 Mar 2036, 08:00 EDT"),
    ],
)
async def test_reminders_tell_the_recipients_time(people: People, match: Match, time: str, ann: str, ben: str) -> None:
    """On the days on which clocks change, in one country and not yet in the other, each reads their own."""
    await people.sql.execute(SCHEDULE_AT, *map(uuid.UUID, (match.id, match.requester_id)), datetime.fromisoformat(time))
    renderer = Renderer(create_environment(), sender="WingmanMatch <hello@notify.example.org>")
    found = await mails(people, match)
    for mail in found:
        recipient = Recipient(mail["user_id"], mail["recipient_name"], mail["locale"])
        rendered = renderer.render(mail["id"], mail["kind"], recipient, mail["payload"], match.id)
        assert (ann if mail["recipient_name"] == "Ann" else ben) in rendered.text
    assert len(found) == 6


# As schedule_meetup does, at a time that need not lie within a year.
SCHEDULE_AT = """
with scheduled as (
    insert into meetups (match_id, requester_id, invitee_id, venue_name, venue_author_id, scheduled_time)
    select id, requester_id, invitee_id, 'Prater', $2, $3 from matches where id = $1 returning *
)
select internal.notify_of_meetup(s::meetups, 'MEETUP_SCHEDULED'), internal.remind_of_meetup(s::meetups) from scheduled s
"""


async def test_calendar_follows_the_meetup(people: People, match: Match) -> None:
    """Scheduled, moved and cancelled are three versions of one calendar entry, each above the one before."""
    meetup = await people.schedule(match, match.requester_id)
    await people.tell()
    await people.meetups.reschedule_meetup(meetup.id, match.requester_id, scheduled_time=in_hours(90))
    await people.tell()
    await people.meetups.cancel_meetup(meetup.id, match.requester_id)
    renderer = Renderer(create_environment(), sender="WingmanMatch <hello@notify.example.org>")
    rows = await people.sql.fetch(
        """select id::text, kind, payload::text from notifications
        where match_id = $1 and user_id = $2 and kind like 'MEETUP%' order by create_time""",
        *map(uuid.UUID, (match.id, match.invitee_id)),
    )
    files = [
        renderer.render(row["id"], row["kind"], Recipient(None, "Ben", "en"), json.loads(row["payload"]), None)
        for row in rows
    ]
    contents = [mail.attachments[0].content for mail in files]
    for sequence, (content, method) in enumerate(zip(contents, ("PUBLISH", "PUBLISH", "CANCEL"), strict=True)):
        lines = content.split("\r\n")
        assert f"UID:{meetup.id}@notify.example.org" in lines
        assert f"SEQUENCE:{sequence}" in lines
        assert f"METHOD:{method}" in lines
