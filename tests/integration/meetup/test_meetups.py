"""Every transition of a meet-up, over both transports."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from support.people import People, in_hours
from wingmanmatch_server import errors

Json = dict[str, Any]


class Pair:
    """Ann, who invited Ben, and Ben, who accepted."""

    def __init__(self, people: People, match: Json) -> None:
        self.people = people
        self.match = match
        self.ann: str = match["requester_id"]
        self.ben: str = match["invitee_id"]

    async def schedule(self, **details: Any) -> Json:
        """Let Ann schedule a meet-up three days ahead."""
        return await self.people.schedule(self.match, self.ann, **details)

    async def begin(self, meetup: Json, *, ago: timedelta = timedelta(minutes=1)) -> None:
        """Make a meet-up have begun."""
        await self.people.sql.execute(
            "update meetups set scheduled_time = now() - $2::interval where id = $1", uuid.UUID(meetup["id"]), ago
        )

    async def begun(self) -> Json:
        """Schedule a meet-up and let it begin."""
        meetup = await self.schedule()
        await self.begin(meetup)
        return meetup

    async def state(self, meetup: Json) -> str:
        """Return the state in which both see a meet-up."""
        seen = {(await self.people.meetups.get_meetup(meetup["id"], each))["meetup"]["state"] for each in self.both}
        (state,) = seen
        return str(state)

    @property
    def both(self) -> tuple[str, str]:
        """Both people."""
        return self.ann, self.ben

    async def scores(self) -> tuple[int, int]:
        """Return both reputations."""
        found = [(await self.people.store.get_reputation(each))["reputation"]["score"] for each in self.both]
        return found[0], found[1]


@pytest.fixture
async def two(people: People) -> Pair:
    """Two new people and their accepted match."""
    return Pair(people, await people.match(*await people.join_many(2)))


async def refusal(call: Awaitable[Any]) -> tuple[type[errors.DomainError], str]:
    """Return how a call is refused."""
    with pytest.raises(errors.DomainError) as caught:
        await call
    return type(caught.value), caught.value.reason


Act = Callable[[People, str, str], Awaitable[Any]]
ACTS: dict[str, Act] = {
    "move": lambda people, meetup, user: people.meetups.reschedule_meetup(meetup, user, venue_name="Augarten"),
    "cancel": lambda people, meetup, user: people.meetups.cancel_meetup(meetup, user),
    "confirm": lambda people, meetup, user: people.meetups.confirm_meetup(meetup, user),
    "report": lambda people, meetup, user: people.meetups.report_no_show(meetup, user),
    "note": lambda people, meetup, user: people.meetups.update_meetup_notes(meetup, user, "Smile."),
    "get": lambda people, meetup, user: people.meetups.get_meetup(meetup, user),
}
STALE = (errors.FailedPrecondition, "MEETUP_NOT_SCHEDULED")


async def test_meetup_is_as_scheduled(two: Pair) -> None:
    """Both people see the same meet-up, with everything that was asked for and nothing else."""
    (first, second) = await two.people.sql.fetch("select id::text from approach_challenges order by id limit 2")
    time = in_hours(72)
    meetup = await two.schedule(
        scheduled_time=time, requester_challenge_id=first["id"], invitee_challenge_id=second["id"]
    )
    assert (meetup["match_id"], meetup["requester_id"], meetup["invitee_id"]) == (two.match["id"], two.ann, two.ben)
    assert (meetup["state"], meetup["venue_name"], meetup["notes"]) == ("SCHEDULED", "Prater", "")
    assert (meetup["requester_challenge_id"], meetup["invitee_challenge_id"]) == (first["id"], second["id"])
    assert datetime.fromisoformat(meetup["scheduled_time"]) == datetime.fromisoformat(time)
    assert datetime.fromisoformat(meetup["expire_time"]) == datetime.fromisoformat(time) + timedelta(days=7)
    assert (meetup["requester_confirm_time"], meetup["invitee_confirm_time"], meetup["no_show_user_ids"]) == (
        *(None, None),
        [],
    )
    for person in two.both:
        assert (await two.people.meetups.get_meetup(meetup["id"], person))["meetup"] == meetup


@pytest.mark.parametrize("state", ["PENDING", "DECLINED", "CANCELLED", "ENDED"])
async def test_only_an_accepted_match_has_meetups(people: People, state: str) -> None:
    """Matches in other states, and matches of others, get none."""
    ann, ben, cid = await people.join_many(3)
    match = await people.invite(ann, ben)
    if state == "DECLINED":
        await people.answer(match, "DECLINE")
    elif state == "CANCELLED":
        await people.store.cancel_match(match["id"], ann)
    elif state == "ENDED":
        await people.answer(match, "ACCEPT")
        await people.store.end_match(match["id"], ben)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await people.schedule(match, ann)
    assert caught.value.reason == "MATCH_NOT_ACCEPTED"
    assert caught.value.metadata == {"match_id": match["id"], "state": state}
    assert await refusal(people.schedule(match, cid)) == (errors.NotFound, "MATCH_NOT_FOUND")


async def test_times_must_lie_ahead(two: Pair) -> None:
    """Neither the past nor more than a year is a time to meet, to schedule or to move to."""
    past, far = in_hours(-0.001), in_hours(24 * 367)
    meetup = await two.schedule()
    for time, reason in ((past, "MEETUP_TIME_PAST"), (far, "FIELD_INVALID")):
        for call in (
            two.people.schedule(two.match, two.ben, scheduled_time=time),
            two.people.meetups.reschedule_meetup(meetup["id"], two.ben, scheduled_time=time),
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
    assert (caught.value.reason, caught.value.metadata) == ("MEETUP_EXISTS", {"meetup_id": meetup["id"]})
    await two.begin(meetup)
    assert await refusal(two.schedule()) == (errors.FailedPrecondition, "MEETUP_EXISTS")
    await two.begin(meetup, ago=timedelta(days=7))
    following = await two.schedule()
    assert await two.state(meetup) == "EXPIRED"
    await two.people.meetups.cancel_meetup(following["id"], two.ben)
    assert (await two.schedule())["state"] == "SCHEDULED"


@pytest.mark.parametrize("mover", [0, 1])
async def test_either_may_move_it(two: Pair, mover: int) -> None:
    """Time, place or both change; what is left out stays."""
    meetup = await two.schedule()
    person, time = two.both[mover], in_hours(50)
    moved = (await two.people.meetups.reschedule_meetup(meetup["id"], person, scheduled_time=time))["meetup"]
    assert datetime.fromisoformat(moved["scheduled_time"]) == datetime.fromisoformat(time)
    assert moved["venue_name"] == "Prater"
    moved_again = (await two.people.meetups.reschedule_meetup(meetup["id"], person, venue_name="Augarten"))["meetup"]
    assert moved_again["scheduled_time"] == moved["scheduled_time"]
    assert moved_again["venue_name"] == "Augarten"
    assert (await two.people.meetups.get_meetup(meetup["id"], two.ann))["meetup"] == moved_again
    for nothing in ({}, {"venue_name": ""}):
        with pytest.raises(errors.InvalidArgument):
            await two.people.meetups.reschedule_meetup(meetup["id"], person, **nothing)


async def test_moving_to_where_it_is_changes_nothing(two: Pair) -> None:
    """No sequence, no mail, no event."""
    meetup = await two.schedule()
    count = "select count(*) from notifications where match_id = $1"
    before = await two.people.sql.fetchval(count, uuid.UUID(two.match["id"]))
    same = {"scheduled_time": meetup["scheduled_time"], "venue_name": meetup["venue_name"]}
    assert await two.people.meetups.reschedule_meetup(meetup["id"], two.ben, **same) == {"meetup": meetup}
    assert await two.people.sql.fetchval(count, uuid.UUID(two.match["id"])) == before


@pytest.mark.parametrize("act", ["move", "cancel"])
async def test_what_has_begun_is_neither_moved_nor_cancelled(two: Pair, act: str) -> None:
    """From the scheduled time on only answers are possible."""
    meetup = await two.begun()
    expected = (errors.FailedPrecondition, "MEETUP_STARTED")
    assert await refusal(ACTS[act](two.people, meetup["id"], two.ann)) == expected


@pytest.mark.parametrize("act", ["confirm", "report"])
async def test_what_lies_ahead_is_not_answered(two: Pair, act: str) -> None:
    """Nobody was there, or was missing, before the time."""
    meetup = await two.schedule()
    expected = (errors.FailedPrecondition, "MEETUP_NOT_STARTED")
    assert await refusal(ACTS[act](two.people, meetup["id"], two.ann)) == expected


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_both_confirm(two: Pair, order: tuple[int, int]) -> None:
    """One confirmation is seen by both and completes nothing; the second does, and both gain."""
    meetup = await two.begun()
    first, second = (two.both[each] for each in order)
    half = (await two.people.meetups.confirm_meetup(meetup["id"], first))["meetup"]
    assert (half["state"], await two.scores()) == ("SCHEDULED", (0, 0))
    assert (half["requester_confirm_time"] is None, half["invitee_confirm_time"] is None) == (
        order[0] == 1,
        order[0] == 0,
    )
    whole = (await two.people.meetups.confirm_meetup(meetup["id"], second))["meetup"]
    assert (whole["state"], await two.scores()) == ("COMPLETED", (1, 1))
    assert whole["requester_confirm_time"]
    assert whole["invitee_confirm_time"]
    for person in two.both:
        assert await two.people.meetups.confirm_meetup(meetup["id"], person) == {"meetup": whole}
        expected = (errors.FailedPrecondition, "MEETUP_ANSWERED")
        assert await refusal(two.people.meetups.report_no_show(meetup["id"], person)) == expected
    assert await two.scores() == (1, 1)


async def test_no_show(two: Pair) -> None:
    """Who is reported missing loses, once; who reported may not take it back; the other's side is heard."""
    meetup = await two.begun()
    missed = (await two.people.meetups.report_no_show(meetup["id"], two.ann))["meetup"]
    assert (missed["state"], missed["no_show_user_ids"]) == ("MISSED", [two.ben])
    assert await two.people.meetups.report_no_show(meetup["id"], two.ann) == {"meetup": missed}
    expected = (errors.FailedPrecondition, "MEETUP_ANSWERED")
    assert await refusal(two.people.meetups.confirm_meetup(meetup["id"], two.ann)) == expected
    assert await two.scores() == (0, -1)
    again = (await two.people.meetups.report_no_show(meetup["id"], two.ben))["meetup"]
    assert (again["state"], sorted(again["no_show_user_ids"])) == ("MISSED", sorted(two.both))
    assert await two.scores() == (-1, -1)


async def test_reported_after_confirming(two: Pair) -> None:
    """Two people may differ: one was there for the other, who was not there for them."""
    meetup = await two.begun()
    await two.people.meetups.confirm_meetup(meetup["id"], two.ann)
    missed = (await two.people.meetups.report_no_show(meetup["id"], two.ben))["meetup"]
    assert (missed["state"], missed["no_show_user_ids"], await two.scores()) == ("MISSED", [two.ann], (-1, 0))
    assert missed["requester_confirm_time"]


async def test_missed_first_may_still_confirm(two: Pair) -> None:
    """The person reported missing can say that the other was there; it stays missed."""
    meetup = await two.begun()
    await two.people.meetups.report_no_show(meetup["id"], two.ben)
    seen = (await two.people.meetups.confirm_meetup(meetup["id"], two.ann))["meetup"]
    assert (seen["state"], seen["no_show_user_ids"], await two.scores()) == ("MISSED", [two.ann], (-1, 0))


@pytest.mark.parametrize("end", ["cancelled", "expired", "half-confirmed and expired", "missed and past"])
async def test_what_is_over_stays_over(two: Pair, end: str) -> None:
    """No act but notes does anything to a meet-up that is over."""
    meetup = await two.schedule()
    if end == "cancelled":
        await two.people.meetups.cancel_meetup(meetup["id"], two.ben)
    else:
        await two.begin(meetup)
        if end.startswith("half"):
            await two.people.meetups.confirm_meetup(meetup["id"], two.ben)
        elif end.startswith("missed"):
            await two.people.meetups.report_no_show(meetup["id"], two.ben)
        await two.begin(meetup, ago=timedelta(days=7))
    state = await two.state(meetup)
    for act in ("move", "cancel", "confirm", "report"):
        with pytest.raises(errors.FailedPrecondition) as caught:
            await ACTS[act](two.people, meetup["id"], two.ann)
        assert (caught.value.reason, caught.value.metadata["state"]) == ("MEETUP_NOT_SCHEDULED", state)
    assert (await ACTS["note"](two.people, meetup["id"], two.ann))["meetup"]["notes"] == "Smile."
    assert await two.state(meetup) == state == {"c": "CANCELLED", "m": "MISSED"}.get(end[0], "EXPIRED")


async def test_sweep_marks_what_expired(two: Pair) -> None:
    """The sweep changes what is stored and nothing that is seen, and leaves all others."""
    meetup, other = await two.schedule(), Pair(two.people, await two.people.match(*await two.people.join_many(2)))
    await other.begun()
    await two.begin(meetup, ago=timedelta(days=7))
    assert await two.state(meetup) == "EXPIRED"
    assert await two.people.meetups.expire_meetups() >= 1
    assert await two.people.meetups.expire_meetups() == 0
    stored = await two.people.sql.fetchval("select state from meetups where id = $1", uuid.UUID(meetup["id"]))
    assert stored == await two.state(meetup) == "EXPIRED"
    assert await two.scores() == (0, 0)


@pytest.mark.parametrize("act", ACTS)
async def test_strangers_learn_nothing(two: Pair, act: str) -> None:
    """To anybody else a meet-up is answered as one that does not exist is."""
    meetup = await two.begun()
    stranger = await two.people.join()
    seen = []
    for meetup_id in (meetup["id"], str(uuid.uuid4())):
        with pytest.raises(errors.NotFound) as caught:
            await ACTS[act](two.people, meetup_id, stranger)
        seen.append((caught.value.reason, caught.value.message, caught.value.metadata == {"meetup_id": meetup_id}))
    assert seen == [("MEETUP_NOT_FOUND", seen[0][1], True)] * 2


async def test_notes_are_ones_own(two: Pair) -> None:
    """Each keeps notes of their own, in any state, and takes them away again."""
    meetup = await two.schedule()
    update = two.people.meetups.update_meetup_notes
    assert (await update(meetup["id"], two.ann, "Bring\nwater."))["meetup"]["notes"] == "Bring\nwater."
    assert (await two.people.meetups.get_meetup(meetup["id"], two.ben))["meetup"]["notes"] == ""
    await update(meetup["id"], two.ben, "Be kind.")
    assert (await update(meetup["id"], two.ann, "Water!"))["meetup"]["notes"] == "Water!"
    (listed,) = (await two.people.meetups.list_meetups(two.ben))["meetups"]
    assert listed["notes"] == "Be kind."
    assert (await update(meetup["id"], two.ann, ""))["meetup"]["notes"] == ""
    assert (
        await two.people.sql.fetchval("select count(*) from meetup_notes where user_id = $1", uuid.UUID(two.ann)) == 0
    )
    with pytest.raises(errors.InvalidArgument):
        await update(meetup["id"], two.ann, "x" * 4001)


async def test_list_is_filtered_and_paged(two: Pair) -> None:
    """The latest scheduled time first, by state and by match, page by page without gap or repetition."""
    people, other = two.people, Pair(two.people, await two.people.match(await two.people.join(), two.ann))
    for hours in (5, 9, 7):
        meetup = await two.schedule(hours=hours)
        await people.meetups.cancel_meetup(meetup["id"], two.ann)
    live = await two.schedule(hours=6)
    others = await other.schedule(hours=8)
    found, after = [], None
    while True:
        page = await people.meetups.list_meetups(two.ann, page_size=2, after=after)
        found += page["meetups"]
        after = page["next_after"]
        if after is None:
            break
    assert len(found) == 5
    assert found == sorted(found, key=lambda meetup: meetup["scheduled_time"], reverse=True)
    assert found == (await people.meetups.list_meetups(two.ann, states=[]))["meetups"]
    one = await people.meetups.list_meetups(two.ann, states=["SCHEDULED"], match_id=two.match["id"])
    assert [each["id"] for each in one["meetups"]] == [live["id"]]
    both = await people.meetups.list_meetups(two.ann, states=["SCHEDULED", "COMPLETED"])
    assert [each["id"] for each in both["meetups"]] == [others["id"], live["id"]]
    assert len((await people.meetups.list_meetups(two.ben))["meetups"]) == 4
    assert await refusal(people.meetups.list_meetups(two.ben, after=others["id"])) == (
        errors.InvalidArgument,
        "PAGE_TOKEN_INVALID",
    )
    with pytest.raises(errors.InvalidArgument):
        await people.meetups.list_meetups(two.ben, states=["PENDING"])


async def test_repeated_requests(two: Pair) -> None:
    """A mutation repeated with its request_id returns the first answer, whatever happened since; another is refused."""
    meetups, sql = two.people.meetups, two.people.sql
    keys = [str(uuid.uuid4()) for _ in range(6)]
    time = in_hours(30)
    scheduled = await meetups.schedule_meetup(
        two.match["id"], two.ann, venue_name="Prater", scheduled_time=time, request_id=keys[0]
    )
    meetup_id = scheduled["meetup"]["id"]
    moved = await meetups.reschedule_meetup(meetup_id, two.ann, scheduled_time=in_hours(40), request_id=keys[1])
    noted = await meetups.update_meetup_notes(meetup_id, two.ann, "Smile.", request_id=keys[2])
    await two.begin(scheduled["meetup"])
    confirmed = await meetups.confirm_meetup(meetup_id, two.ann, request_id=keys[3])
    reported = await meetups.report_no_show(meetup_id, two.ben, request_id=keys[4])
    assert await meetups.confirm_meetup(meetup_id, two.ann, request_id=keys[3]) == confirmed
    assert await meetups.report_no_show(meetup_id, two.ben, request_id=keys[4]) == reported
    assert await meetups.update_meetup_notes(meetup_id, two.ann, "Smile.", request_id=keys[2]) == noted
    again = await meetups.schedule_meetup(
        two.match["id"], two.ann, venue_name="Prater", scheduled_time=time, request_id=keys[0]
    )
    assert again == scheduled != moved
    second = await two.schedule()
    cancelled = await meetups.cancel_meetup(second["id"], two.ann, request_id=keys[5])
    assert await meetups.cancel_meetup(second["id"], two.ann, request_id=keys[5]) == cancelled
    for call in (
        meetups.schedule_meetup(
            two.match["id"], two.ann, venue_name="Augarten", scheduled_time=time, request_id=keys[0]
        ),
        meetups.reschedule_meetup(meetup_id, two.ann, venue_name="Augarten", request_id=keys[1]),
        meetups.update_meetup_notes(meetup_id, two.ann, "Laugh.", request_id=keys[2]),
        meetups.confirm_meetup(second["id"], two.ann, request_id=keys[3]),
        meetups.report_no_show(second["id"], two.ben, request_id=keys[4]),
        meetups.cancel_meetup(meetup_id, two.ann, request_id=keys[5]),
    ):
        assert await refusal(call) == (errors.InvalidArgument, "REQUEST_ID_REUSED")
    assert await sql.fetchval("select count(*) from meetups where match_id = $1", uuid.UUID(two.match["id"])) == 2


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
        await two.people.sql.execute("delete from meetups where match_id = $1", uuid.UUID(two.match["id"]))
        await two.people.sql.execute(PAST_MEETUPS, *map(uuid.UUID, (two.match["id"], *two.both)), completed, no_shows)
        reputation = (await two.people.store.get_reputation(two.ann))["reputation"]
        assert reputation == {
            "user_id": two.ann,
            "score": score,
            "badge": badge,
            "completed_count": completed,
            "no_show_count": no_shows,
        }
    assert (await two.people.store.get_reputation(two.ben))["reputation"]["score"] == 0
    assert await refusal(two.people.store.get_reputation(str(uuid.uuid4()))) == (errors.NotFound, "PROFILE_NOT_FOUND")


PAST_MEETUPS = """
insert into meetups (match_id, requester_id, invitee_id, venue_name, scheduled_time, state, requester_answer,
    requester_answer_time, invitee_answer, invitee_answer_time)
select $1, $2, $3, 'Prater', now() - interval '9 days', kind.state, 'PRESENT', now(), kind.answer, now()
from (values ('COMPLETED', 'PRESENT', $4::integer), ('MISSED', 'MISSING', $5::integer)) kind (state, answer, times)
cross join generate_series(1, kind.times)
"""


async def test_reputation_decides_between_equally_near_people(two: Pair) -> None:
    """A confirmed meet-up moves its people before others at the same place, and a no-show behind them."""
    place = (64.1466, -21.9426 + two.people.source.random())
    me, ann, ben, cid, dora = await two.people.join_many(5, place)
    for first, second, act in ((ann, ben, "confirm"), (cid, dora, "report")):
        pair = Pair(two.people, await two.people.match(first, second))
        meetup = await pair.begun()
        await ACTS[act](two.people, meetup["id"], first)
        if act == "confirm":
            await ACTS[act](two.people, meetup["id"], second)
    page = await two.people.store.list_candidates(me, radius_miles=1)
    seen = [(candidate["user_id"], candidate["reputation"]) for candidate in page["candidates"]]
    assert seen == [*((each, 1) for each in sorted((ann, ben))), (cid, 0), (dora, -1)]


@pytest.mark.parametrize(
    "change", ["state = 'COMPLETED'", "state = 'MISSED'", "requester_answer = 'MISSING', requester_answer_time = now()"]
)
async def test_state_and_answers_cannot_contradict(two: Pair, change: str) -> None:
    """Whoever writes past the functions is stopped by the table."""
    meetup = await two.schedule()
    with pytest.raises(asyncpg.CheckViolationError):
        await two.people.sql.execute(f"update meetups set {change} where id = $1", uuid.UUID(meetup["id"]))


async def test_next_meetup(two: Pair) -> None:
    """It is the soonest that lies ahead, and none once it has begun."""
    query = "select (next_meetup($1)).id::text"
    assert await two.people.sql.fetchval(query, uuid.UUID(two.ann)) is None
    later = await two.schedule(hours=50)
    other = Pair(two.people, await two.people.match(two.ann, await two.people.join()))
    sooner = await other.schedule(hours=40)
    assert await two.people.sql.fetchval(query, uuid.UUID(two.ann)) == sooner["id"]
    assert await two.people.sql.fetchval(query, uuid.UUID(two.ben)) == later["id"]
    await two.begin(sooner)
    assert await two.people.sql.fetchval(query, uuid.UUID(two.ann)) == later["id"]
