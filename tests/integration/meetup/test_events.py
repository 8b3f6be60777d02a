"""What people who watch their matches are told of meet-ups."""

import uuid

import pytest

from support.people import People, in_hours
from wingmanmatch_server.matching.rows import Match


async def events(people: People, user_id: str) -> list[tuple[str, str, str | None]]:
    """Return a person's events as kind, state of the match, and meet-up, in their order."""
    rows = await people.sql.fetch(
        "select kind, match_state, meetup_id::text from match_events where user_id = $1 order by sequence",
        uuid.UUID(user_id),
    )
    return [tuple(row) for row in rows if row["kind"] not in ("REQUESTED", "ACCEPTED")]


@pytest.fixture
async def match(people: People) -> Match:
    """An accepted match of two new people."""
    return await people.match(*await people.join_many(2))


async def test_each_change_is_one_event_for_both(people: People, match: Match) -> None:
    """Scheduling, moving, cancelling and completing are told; notes, one confirmation and passing time are not."""
    ann, ben = match.requester_id, match.invitee_id
    first = (await people.schedule(match, ann)).id
    await people.meetups.reschedule_meetup(first, ben, scheduled_time=in_hours(10), venue_name="Augarten")
    await people.meetups.reschedule_meetup(first, ben, venue_name="Augarten")
    await people.meetups.update_meetup_notes(first, ann, "Smile.")
    await people.meetups.cancel_meetup(first, ann)
    second = (await people.schedule(match, ben)).id
    await people.sql.execute("update meetups set scheduled_time = now() where id = $1", uuid.UUID(second))
    await people.meetups.confirm_meetup(second, ann)
    await people.meetups.confirm_meetup(second, ben)
    expected = [
        ("MEETUP_SCHEDULED", "ACCEPTED", first),
        ("MEETUP_RESCHEDULED", "ACCEPTED", first),
        ("MEETUP_CANCELLED", "ACCEPTED", first),
        ("MEETUP_SCHEDULED", "ACCEPTED", second),
        ("MEETUP_COMPLETED", "ACCEPTED", second),
    ]
    assert await events(people, ann) == await events(people, ben) == expected


async def test_missed_and_expired_meetups_are_no_events(people: People, match: Match) -> None:
    """The API has no event for them."""
    ann = match.requester_id
    for act in ("report", "expire"):
        meetup_id = (await people.schedule(match, ann)).id
        age = {"report": 0, "expire": 7}[act]
        await people.sql.execute(
            "update meetups set scheduled_time = now() - make_interval(days => $2) where id = $1",
            *(uuid.UUID(meetup_id), age),
        )
        if act == "report":
            await people.meetups.report_no_show(meetup_id, ann)
        else:
            await people.meetups.expire_meetups()
    assert [kind for kind, _, _ in await events(people, ann)] == ["MEETUP_SCHEDULED"] * 2


async def test_end_of_the_match_comes_after_that_of_its_meetup(people: People, match: Match) -> None:
    """Who reads in order never sees a meet-up of a match that is over."""
    ann, ben = match.requester_id, match.invitee_id
    meetup_id = (await people.schedule(match, ann)).id
    await people.store.end_match(match.id, ben)
    assert (await events(people, ann))[1:] == [("MEETUP_CANCELLED", "ACCEPTED", meetup_id), ("ENDED", "ENDED", None)]


async def test_what_is_undone_is_no_event(people: People, match: Match) -> None:
    """A transaction that fails tells nobody."""
    ann = match.requester_id
    meetup_id = (await people.schedule(match, ann)).id
    undone = people.sql.transaction()
    await undone.start()
    await people.sql.execute("select cancel_meetup($1, $2)", uuid.UUID(meetup_id), uuid.UUID(ann))
    await people.sql.execute("set constraints all immediate")
    assert (await events(people, ann))[-1][0] == "MEETUP_CANCELLED"
    await undone.rollback()
    assert [kind for kind, _, _ in await events(people, ann)] == ["MEETUP_SCHEDULED"]
