"""How a meet-up went, as its people say, and the reputation that comes of it, over both transports."""

import uuid
from datetime import timedelta

import asyncpg
import pytest

from support.meetups import ACTS, Pair, refusal
from wingmanmatch_server import errors
from wingmanmatch_server.matching.rows import Reputation


@pytest.mark.parametrize("act", ["confirm", "report"])
async def test_what_lies_ahead_is_not_answered(two: Pair, act: str) -> None:
    """Nobody was there, or was missing, before the time."""
    meetup = await two.schedule()
    expected = (errors.FailedPrecondition, "MEETUP_NOT_STARTED")
    assert await refusal(ACTS[act](two.people, meetup.id, two.ann)) == expected


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_both_confirm(two: Pair, order: tuple[int, int]) -> None:
    """One confirmation is seen by both and completes nothing; the second does, and both gain."""
    meetup = await two.begun()
    first, second = (two.both[each] for each in order)
    half = await two.people.meetups.confirm_meetup(meetup.id, first)
    assert (half.state, await two.scores()) == ("SCHEDULED", (0, 0))
    assert (half.requester_confirm_time is None, half.invitee_confirm_time is None) == (
        order[0] == 1,
        order[0] == 0,
    )
    whole = await two.people.meetups.confirm_meetup(meetup.id, second)
    assert (whole.state, await two.scores()) == ("COMPLETED", (1, 1))
    assert whole.requester_confirm_time
    assert whole.invitee_confirm_time
    for person in two.both:
        assert await two.people.meetups.confirm_meetup(meetup.id, person) == whole
        expected = (errors.FailedPrecondition, "MEETUP_ANSWERED")
        assert await refusal(two.people.meetups.report_no_show(meetup.id, person)) == expected
    assert await two.scores() == (1, 1)


async def test_no_show(two: Pair) -> None:
    """Who is reported missing loses, once; who reported may not take it back; the other's side is heard."""
    meetup = await two.begun()
    missed = await two.people.meetups.report_no_show(meetup.id, two.ann)
    assert (missed.state, missed.no_show_user_ids) == ("MISSED", (two.ben,))
    assert await two.people.meetups.report_no_show(meetup.id, two.ann) == missed
    expected = (errors.FailedPrecondition, "MEETUP_ANSWERED")
    assert await refusal(two.people.meetups.confirm_meetup(meetup.id, two.ann)) == expected
    assert await two.scores() == (0, -1)
    again = await two.people.meetups.report_no_show(meetup.id, two.ben)
    assert (again.state, sorted(again.no_show_user_ids)) == ("MISSED", sorted(two.both))
    assert await two.scores() == (-1, -1)


async def test_reported_after_confirming(two: Pair) -> None:
    """Two people may differ: one was there for the other, who was not there for them."""
    meetup = await two.begun()
    await two.people.meetups.confirm_meetup(meetup.id, two.ann)
    missed = await two.people.meetups.report_no_show(meetup.id, two.ben)
    assert (missed.state, missed.no_show_user_ids, await two.scores()) == ("MISSED", (two.ann,), (-1, 0))
    assert missed.requester_confirm_time


async def test_missed_first_may_still_confirm(two: Pair) -> None:
    """The person reported missing can say that the other was there; it stays missed."""
    meetup = await two.begun()
    await two.people.meetups.report_no_show(meetup.id, two.ben)
    seen = await two.people.meetups.confirm_meetup(meetup.id, two.ann)
    assert (seen.state, seen.no_show_user_ids, await two.scores()) == ("MISSED", (two.ann,), (-1, 0))


@pytest.mark.parametrize("end", ["cancelled", "expired", "half-confirmed and expired", "missed and past"])
async def test_what_is_over_stays_over(two: Pair, end: str) -> None:
    """No act but notes does anything to a meet-up that is over."""
    meetup = await two.schedule()
    if end == "cancelled":
        await two.people.meetups.cancel_meetup(meetup.id, two.ben)
    else:
        await two.begin(meetup)
        if end.startswith("half"):
            await two.people.meetups.confirm_meetup(meetup.id, two.ben)
        elif end.startswith("missed"):
            await two.people.meetups.report_no_show(meetup.id, two.ben)
        await two.begin(meetup, ago=timedelta(days=7))
    state = await two.state(meetup)
    for act in ("move", "cancel", "confirm", "report"):
        with pytest.raises(errors.FailedPrecondition) as caught:
            await ACTS[act](two.people, meetup.id, two.ann)
        assert (caught.value.reason, caught.value.metadata["state"]) == ("MEETUP_NOT_SCHEDULED", state)
    assert (await ACTS["note"](two.people, meetup.id, two.ann)).notes == "Smile."
    assert await two.state(meetup) == state == {"c": "CANCELLED", "m": "MISSED"}.get(end[0], "EXPIRED")


async def test_sweep_marks_what_expired(two: Pair) -> None:
    """The sweep changes what is stored and nothing that is seen, and leaves all others."""
    meetup, other = await two.schedule(), Pair(two.people, await two.people.match(*await two.people.join_many(2)))
    await other.begun()
    await two.begin(meetup, ago=timedelta(days=7))
    assert await two.state(meetup) == "EXPIRED"
    assert await two.people.meetups.expire_meetups() >= 1
    assert await two.people.meetups.expire_meetups() == 0
    stored = await two.people.sql.fetchval("select state from meetups where id = $1", uuid.UUID(meetup.id))
    assert stored == await two.state(meetup) == "EXPIRED"
    assert await two.scores() == (0, 0)


async def test_reputation_is_clamped_and_coloured(two: Pair) -> None:
    """Completions less own no-shows between -5 and 20; gold from 10 on, green from 0 on, red below."""
    for completed, no_shows, score, badge in (
        (0, 0, 0, "GREEN"),
        (9, 0, 9, "GREEN"),
        (12, 2, 10, "GOLD"),
        (30, 3, 20, "GOLD"),
        (1, 2, -1, "RED"),
        (0, 9, -5, "RED"),
    ):
        await two.people.sql.execute("delete from meetups where match_id = $1", uuid.UUID(two.match.id))
        await two.people.sql.execute(PAST_MEETUPS, *map(uuid.UUID, (two.match.id, *two.both)), completed, no_shows)
        reputation = await two.people.store.get_reputation(two.ann)
        assert reputation == Reputation(
            user_id=two.ann, score=score, badge=badge, completed_count=completed, no_show_count=no_shows
        )
    assert (await two.people.store.get_reputation(two.ben)).score == 0
    assert await refusal(two.people.store.get_reputation(str(uuid.uuid4()))) == (errors.NotFound, "PROFILE_NOT_FOUND")


PAST_MEETUPS = """
insert into meetups (match_id, requester_id, invitee_id, venue_name, scheduled_time, state, requester_answer,
    requester_answer_time, invitee_answer, invitee_answer_time)
select $1, $2, $3, 'Prater', now() - interval '9 days', kind.state, 'PRESENT', now(), kind.answer, now()
from (values ('COMPLETED', 'PRESENT', $4::integer), ('MISSED', 'MISSING', $5::integer)) kind (state, answer, times)
cross join generate_series(1, kind.times)
"""


ONE_PLACE = "update match_pool set latitude = $2, longitude = $3 where user_id = any ($1)"


async def test_reputation_decides_between_equally_near_people(two: Pair) -> None:
    """A confirmed meet-up moves its people before others at the same place, and a no-show behind them."""
    place = (64.1466, -21.9426 + two.people.source.random())
    me, ann, ben, cid, dora = await two.people.join_many(5, place)
    # Each person's stand-in is another point of the cell: only here are they one.
    await two.people.sql.execute(ONE_PLACE, [uuid.UUID(each) for each in (me, ann, ben, cid, dora)], *place)
    for first, second, act in ((ann, ben, "confirm"), (cid, dora, "report")):
        pair = Pair(two.people, await two.people.match(first, second))
        meetup = await pair.begun()
        await ACTS[act](two.people, meetup.id, first)
        if act == "confirm":
            await ACTS[act](two.people, meetup.id, second)
    page = await two.people.store.list_candidates(me, radius_miles=1)
    seen = [(candidate.user_id, candidate.reputation) for candidate in page.candidates]
    assert seen == [*((each, 1) for each in sorted((ann, ben))), (cid, 0), (dora, -1)]


@pytest.mark.parametrize(
    "change", ["state = 'COMPLETED'", "state = 'MISSED'", "requester_answer = 'MISSING', requester_answer_time = now()"]
)
async def test_state_and_answers_cannot_contradict(two: Pair, change: str) -> None:
    """Whoever writes past the functions is stopped by the table."""
    meetup = await two.schedule()
    with pytest.raises(asyncpg.CheckViolationError):
        await two.people.sql.execute(f"update meetups set {change} where id = $1", uuid.UUID(meetup.id))
