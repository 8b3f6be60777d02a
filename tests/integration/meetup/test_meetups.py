"""Agreeing on a meet-up, moving it, calling it off, and looking at it, over both transports."""

import uuid
from datetime import datetime, timedelta

import pytest

from support.meetups import ACTS, Pair, refusal
from support.people import People, in_hours
from wingmanmatch_server import errors
from wingmanmatch_server.meetup.rows import Meetup


async def test_meetup_is_as_scheduled(two: Pair) -> None:
    """Both people see the same meet-up, with everything that was asked for and nothing else."""
    (first, second) = await two.people.sql.fetch("select id::text from approach_challenges order by id limit 2")
    time = in_hours(72)
    meetup = await two.schedule(
        scheduled_time=time, requester_challenge_id=first["id"], invitee_challenge_id=second["id"]
    )
    assert (meetup.match_id, meetup.requester_id, meetup.invitee_id) == (two.match.id, two.ann, two.ben)
    assert (meetup.state, meetup.venue_name, meetup.notes) == ("SCHEDULED", "Prater", "")
    assert (meetup.requester_challenge_id, meetup.invitee_challenge_id) == (first["id"], second["id"])
    assert meetup.scheduled_time == datetime.fromisoformat(time)
    assert meetup.expire_time == datetime.fromisoformat(time) + timedelta(days=7)
    assert (meetup.requester_confirm_time, meetup.invitee_confirm_time, meetup.no_show_user_ids) == (
        *(None, None),
        (),
    )
    for person in two.both:
        assert (await two.people.meetups.get_meetup(meetup.id, person)) == meetup


@pytest.mark.parametrize("state", ["PENDING", "DECLINED", "CANCELLED", "ENDED"])
async def test_only_an_accepted_match_has_meetups(people: People, state: str) -> None:
    """Matches in other states, and matches of others, get none."""
    ann, ben, cid = await people.join_many(3)
    match = await people.invite(ann, ben)
    if state == "DECLINED":
        await people.answer(match, "DECLINE")
    elif state == "CANCELLED":
        await people.store.cancel_match(match.id, ann)
    elif state == "ENDED":
        await people.answer(match, "ACCEPT")
        await people.store.end_match(match.id, ben)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await people.schedule(match, ann)
    assert caught.value.reason == "MATCH_NOT_ACCEPTED"
    assert caught.value.metadata == {"match_id": match.id, "state": state}
    assert await refusal(people.schedule(match, cid)) == (errors.NotFound, "MATCH_NOT_FOUND")


async def test_times_must_lie_ahead(two: Pair) -> None:
    """Neither the past nor more than a year is a time to meet, to schedule or to move to."""
    past, far = in_hours(-0.001), in_hours(24 * 367)
    meetup = await two.schedule()
    for time, reason in ((past, "MEETUP_TIME_PAST"), (far, "FIELD_INVALID")):
        for call in (
            two.people.schedule(two.match, two.ben, scheduled_time=time),
            two.people.meetups.reschedule_meetup(meetup.id, two.ben, scheduled_time=time),
        ):
            with pytest.raises(errors.InvalidArgument) as caught:
                await call
            assert caught.value.reason == reason
            assert [violation.field for violation in caught.value.violations] == ["scheduled_time"]


@pytest.mark.parametrize("venue", ["", "two\nlines", "x" * 201])
async def test_venue_is_one_line(two: Pair, venue: str) -> None:
    """The database keeps the rule of the proto, too."""
    with pytest.raises(errors.InvalidArgument) as caught:
        await two.schedule(venue_name=venue)
    assert [violation.field for violation in caught.value.violations] == ["venue_name"]


async def test_challenges_must_be_in_the_catalogue(two: Pair) -> None:
    """An unknown challenge is not found, on either side."""
    for side in ("requester_challenge_id", "invitee_challenge_id"):
        assert await refusal(two.schedule(**{side: str(uuid.uuid4())})) == (errors.NotFound, "CHALLENGE_NOT_FOUND")


async def test_one_live_meetup_a_match(two: Pair) -> None:
    """While one is scheduled, or waits for answers, there is no second; after that there is."""
    meetup = await two.schedule()
    with pytest.raises(errors.FailedPrecondition) as caught:
        await two.people.schedule(two.match, two.ben)
    assert (caught.value.reason, caught.value.metadata) == ("MEETUP_EXISTS", {"meetup_id": meetup.id})
    await two.begin(meetup)
    assert await refusal(two.schedule()) == (errors.FailedPrecondition, "MEETUP_EXISTS")
    await two.begin(meetup, ago=timedelta(days=7))
    following = await two.schedule()
    assert await two.state(meetup) == "EXPIRED"
    await two.people.meetups.cancel_meetup(following.id, two.ben)
    assert (await two.schedule()).state == "SCHEDULED"


@pytest.mark.parametrize("mover", [0, 1])
async def test_either_may_move_it(two: Pair, mover: int) -> None:
    """Time, place or both change; what is left out stays."""
    meetup = await two.schedule()
    person, time = two.both[mover], in_hours(50)
    moved = await two.people.meetups.reschedule_meetup(meetup.id, person, scheduled_time=time)
    assert moved.scheduled_time == datetime.fromisoformat(time)
    assert moved.venue_name == "Prater"
    moved_again = await two.people.meetups.reschedule_meetup(meetup.id, person, venue_name="Augarten")
    assert moved_again.scheduled_time == moved.scheduled_time
    assert moved_again.venue_name == "Augarten"
    assert (await two.people.meetups.get_meetup(meetup.id, two.ann)) == moved_again
    for nothing in ({}, {"venue_name": ""}):
        with pytest.raises(errors.InvalidArgument):
            await two.people.meetups.reschedule_meetup(meetup.id, person, **nothing)


async def test_moving_to_where_it_is_changes_nothing(two: Pair) -> None:
    """No sequence, no mail, no event."""
    meetup = await two.schedule()
    count = "select count(*) from notifications where match_id = $1"
    before = await two.people.sql.fetchval(count, uuid.UUID(two.match.id))
    same = {"scheduled_time": meetup.scheduled_time.isoformat(), "venue_name": meetup.venue_name}
    assert await two.people.meetups.reschedule_meetup(meetup.id, two.ben, **same) == meetup
    assert await two.people.sql.fetchval(count, uuid.UUID(two.match.id)) == before


@pytest.mark.parametrize("act", ["move", "cancel"])
async def test_what_has_begun_is_neither_moved_nor_cancelled(two: Pair, act: str) -> None:
    """From the scheduled time on only answers are possible."""
    meetup = await two.begun()
    expected = (errors.FailedPrecondition, "MEETUP_STARTED")
    assert await refusal(ACTS[act](two.people, meetup.id, two.ann)) == expected


@pytest.mark.parametrize("act", ACTS)
async def test_strangers_learn_nothing(two: Pair, act: str) -> None:
    """To anybody else a meet-up is answered as one that does not exist is."""
    meetup = await two.begun()
    stranger = await two.people.join()
    seen = []
    for meetup_id in (meetup.id, str(uuid.uuid4())):
        with pytest.raises(errors.NotFound) as caught:
            await ACTS[act](two.people, meetup_id, stranger)
        seen.append((caught.value.reason, caught.value.message, caught.value.metadata == {"meetup_id": meetup_id}))
    assert seen == [("MEETUP_NOT_FOUND", seen[0][1], True)] * 2


async def test_notes_are_ones_own(two: Pair) -> None:
    """Each keeps notes of their own, in any state, and takes them away again."""
    meetup = await two.schedule()
    update = two.people.meetups.update_meetup_notes
    assert (await update(meetup.id, two.ann, "Bring\nwater.")).notes == "Bring\nwater."
    assert (await two.people.meetups.get_meetup(meetup.id, two.ben)).notes == ""
    await update(meetup.id, two.ben, "Be kind.")
    assert (await update(meetup.id, two.ann, "Water!")).notes == "Water!"
    (listed,) = (await two.people.meetups.list_meetups(two.ben)).meetups
    assert listed.notes == "Be kind."
    assert (await update(meetup.id, two.ann, "")).notes == ""
    assert (
        await two.people.sql.fetchval("select count(*) from meetup_notes where user_id = $1", uuid.UUID(two.ann)) == 0
    )
    with pytest.raises(errors.InvalidArgument):
        await update(meetup.id, two.ann, "x" * 4001)


async def test_list_is_filtered_and_paged(two: Pair) -> None:
    """The latest scheduled time first, by state and by match, page by page without gap or repetition."""
    people, other = two.people, Pair(two.people, await two.people.match(await two.people.join(), two.ann))
    for hours in (5, 9, 7):
        meetup = await two.schedule(hours=hours)
        await people.meetups.cancel_meetup(meetup.id, two.ann)
    live = await two.schedule(hours=6)
    others = await other.schedule(hours=8)
    found: list[Meetup] = []
    after = None
    while True:
        page = await people.meetups.list_meetups(two.ann, page_size=2, after=after)
        found += page.meetups
        after = page.next_position
        if after is None:
            break
    assert len(found) == 5
    assert found == sorted(found, key=lambda meetup: meetup.scheduled_time, reverse=True)
    assert tuple(found) == (await people.meetups.list_meetups(two.ann, states=[])).meetups
    one = await people.meetups.list_meetups(two.ann, states=["SCHEDULED"], match_id=two.match.id)
    assert [each.id for each in one.meetups] == [live.id]
    both = await people.meetups.list_meetups(two.ann, states=["SCHEDULED", "COMPLETED"])
    assert [each.id for each in both.meetups] == [others.id, live.id]
    assert len((await people.meetups.list_meetups(two.ben)).meetups) == 4
    with pytest.raises(errors.InvalidArgument):
        await people.meetups.list_meetups(two.ben, states=["PENDING"])


async def test_repeated_requests(two: Pair) -> None:
    """A mutation repeated with its request_id returns the first answer, whatever happened since; another is refused."""
    meetups, sql = two.people.meetups, two.people.sql
    keys = [str(uuid.uuid4()) for _ in range(6)]
    time = in_hours(30)
    scheduled = await meetups.schedule_meetup(
        two.match.id, two.ann, venue_name="Prater", scheduled_time=time, request_id=keys[0]
    )
    meetup_id = scheduled.id
    moved = await meetups.reschedule_meetup(meetup_id, two.ann, scheduled_time=in_hours(40), request_id=keys[1])
    noted = await meetups.update_meetup_notes(meetup_id, two.ann, "Smile.", request_id=keys[2])
    await two.begin(scheduled)
    confirmed = await meetups.confirm_meetup(meetup_id, two.ann, request_id=keys[3])
    reported = await meetups.report_no_show(meetup_id, two.ben, request_id=keys[4])
    assert await meetups.confirm_meetup(meetup_id, two.ann, request_id=keys[3]) == confirmed
    assert await meetups.report_no_show(meetup_id, two.ben, request_id=keys[4]) == reported
    assert await meetups.update_meetup_notes(meetup_id, two.ann, "Smile.", request_id=keys[2]) == noted
    again = await meetups.schedule_meetup(
        two.match.id, two.ann, venue_name="Prater", scheduled_time=time, request_id=keys[0]
    )
    assert again == scheduled != moved
    second = await two.schedule()
    cancelled = await meetups.cancel_meetup(second.id, two.ann, request_id=keys[5])
    assert await meetups.cancel_meetup(second.id, two.ann, request_id=keys[5]) == cancelled
    for call in (
        meetups.schedule_meetup(two.match.id, two.ann, venue_name="Augarten", scheduled_time=time, request_id=keys[0]),
        meetups.reschedule_meetup(meetup_id, two.ann, venue_name="Augarten", request_id=keys[1]),
        meetups.update_meetup_notes(meetup_id, two.ann, "Laugh.", request_id=keys[2]),
        meetups.confirm_meetup(second.id, two.ann, request_id=keys[3]),
        meetups.report_no_show(second.id, two.ben, request_id=keys[4]),
        meetups.cancel_meetup(meetup_id, two.ann, request_id=keys[5]),
    ):
        assert await refusal(call) == (errors.InvalidArgument, "REQUEST_ID_REUSED")
    assert await sql.fetchval("select count(*) from meetups where match_id = $1", uuid.UUID(two.match.id)) == 2
