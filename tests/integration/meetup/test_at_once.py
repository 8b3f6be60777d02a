"""What holds of meet-ups whatever many callers do at the same time, on connections of their own."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from typing import Any

from support.people import VIENNA, People, in_hours, new_profile
from wingmanmatch_server import errors
from wingmanmatch_server.matching.rows import Match
from wingmanmatch_server.meetup.rows import Meetup

CALLERS = 40


async def outcome(call: Awaitable[Any]) -> str:
    """Return "done", or the reason of the refusal; anything else, such as a deadlock, is raised."""
    try:
        await call
    except errors.DomainError as error:
        return error.reason
    return "done"


async def all_at_once(calls: Iterable[Awaitable[Any]]) -> Counter[str]:
    """Make the calls together and return how often each outcome came."""
    return Counter(await asyncio.gather(*map(outcome, calls)))


async def matches_of(people: People, count: int) -> list[Match]:
    """Return so many accepted matches of different people."""
    return [await people.match(*await people.join_many(2)) for _ in range(count)]


async def begin(people: People, meetups: Iterable[Meetup]) -> None:
    """Let the time of meet-ups come."""
    ids = [uuid.UUID(meetup.id) for meetup in meetups]
    await people.sql.execute("update meetups set scheduled_time = now() where id = any ($1)", ids)


async def stored(people: People, meetup: Meetup) -> dict[str, Any]:
    """Return what is stored of a meet-up."""
    return dict(await people.sql.fetchrow("select * from meetups where id = $1", uuid.UUID(meetup.id)))


async def test_scheduling_at_once_makes_one_meetup(crowd: People) -> None:
    """Of all who schedule for one match, from both sides, one is first, and the others learn that there is one."""
    (match,) = await matches_of(crowd, 1)
    sides = [match.requester_id, match.invitee_id] * (CALLERS // 2)
    assert await all_at_once(crowd.schedule(match, person) for person in sides) == {
        "done": 1,
        "MEETUP_EXISTS": CALLERS - 1,
    }
    assert await crowd.broken_rules() == []


async def test_one_request_sent_many_times_acts_once(crowd: People) -> None:
    """Retries that overtake one another get one and the same answer."""
    (match,) = await matches_of(crowd, 1)
    request_id, time = crowd.new_id(), in_hours(30)
    calls = (
        crowd.schedule(match, match.invitee_id, scheduled_time=time, request_id=request_id) for _ in range(CALLERS)
    )
    answers = await asyncio.gather(*calls)
    assert len({str(answer) for answer in answers}) == 1


async def test_both_confirm_at_once(crowd: People) -> None:
    """Neither confirmation is lost: every pair's meet-up is completed, and counts once for each of the two."""
    matches = await matches_of(crowd, CALLERS // 2)
    meetups = [await crowd.schedule(match, match.requester_id) for match in matches]
    await begin(crowd, meetups)
    seats = [(meetup.id, side) for meetup in meetups for side in (meetup.requester_id, meetup.invitee_id)]
    assert await all_at_once(crowd.meetups.confirm_meetup(*seat) for seat in seats) == {"done": len(seats)}
    for meetup in meetups:
        assert (await stored(crowd, meetup))["state"] == "COMPLETED"
        reputation = await crowd.store.get_reputation(meetup.requester_id)
        assert (reputation.score, reputation.completed_count) == (1, 1)
    assert await crowd.broken_rules() == []


async def test_one_person_changes_their_mind_at_once(crowd: People) -> None:
    """Of a confirmation and a report by the same person one holds, and the other is refused."""
    matches = await matches_of(crowd, 10)
    meetups = [await crowd.schedule(match, match.requester_id) for match in matches]
    await begin(crowd, meetups)
    acts = (crowd.meetups.confirm_meetup, crowd.meetups.report_no_show)
    calls = (act(meetup.id, meetup.requester_id) for meetup in meetups for act in acts)
    assert await all_at_once(calls) == {"done": 10, "MEETUP_ANSWERED": 10}
    assert await crowd.broken_rules() == []


async def test_many_meetups_of_one_person_end_at_once(crowd: People) -> None:
    """A reputation counts each of them: none is lost to another that was counted at the same moment."""
    star = await crowd.join()
    others = await crowd.join_many(12)
    meetups = [await crowd.schedule(await crowd.match(star, other), star) for other in others]
    await begin(crowd, meetups)
    for meetup in meetups:
        await crowd.meetups.confirm_meetup(meetup.id, star)
    calls = [crowd.meetups.confirm_meetup(meetup.id, meetup.invitee_id) for meetup in meetups[:10]]
    calls += [crowd.meetups.report_no_show(meetup.id, meetup.invitee_id) for meetup in meetups[10:]]
    assert await all_at_once(calls) == {"done": 12}
    assert await crowd.sql.fetchval("select reputation from match_pool where user_id = $1", uuid.UUID(star)) == 8
    assert await crowd.broken_rules() == []


async def test_moving_and_cancelling_at_once(crowd: People) -> None:
    """Moves come one after the other until it is off; then there is one version, and only its mails wait."""
    matches = await matches_of(crowd, 4)
    for match in matches:
        meetup = await crowd.schedule(match, match.requester_id)
        await crowd.tell()
        both = (match.requester_id, match.invitee_id)
        moves = [
            crowd.meetups.reschedule_meetup(meetup.id, both[turn % 2], scheduled_time=in_hours(50 + turn))
            for turn in range(12)
        ]
        cancels = [crowd.meetups.cancel_meetup(meetup.id, person) for person in both]
        done = await all_at_once(moves[:6] + cancels + moves[6:])
        assert set(done) <= {"done", "MEETUP_NOT_SCHEDULED", "MEETUP_MOVED_TOO_OFTEN"}
        found = await stored(crowd, meetup)
        assert (found["state"], found["sequence"]) == ("CANCELLED", done["done"])
        waiting = await crowd.sql.fetch(
            "select kind from notifications where match_id = $1 and state = 'PENDING' and payload ? 'meetup_id'",
            uuid.UUID(match.id),
        )
        assert [row["kind"] for row in waiting] == ["MEETUP_CANCELLED"] * 2
    assert await crowd.broken_rules() == []


async def test_scheduling_while_the_last_one_expires(crowd: People) -> None:
    """Who schedules anew at the moment of the sweep waits for it, and is not told of a meet-up that is over."""
    (match,) = await matches_of(crowd, 1)
    await crowd.schedule(match, match.requester_id)
    await crowd.sql.execute("update meetups set scheduled_time = now() - interval '7 days'")
    async with crowd.sql.transaction():
        await crowd.sql.execute("select expire_meetups()")
        scheduling = asyncio.create_task(crowd.schedule(match, match.invitee_id))
        await until_waiting(crowd, scheduling)
    assert (await scheduling).state == "SCHEDULED"
    assert await crowd.broken_rules() == []


async def until_waiting(people: People, call: asyncio.Task[Any]) -> None:
    """Return when a call waits for a lock, or has ended."""
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while not call.done() and not await people.sql.fetchval(query):
        await asyncio.sleep(0.005)
        # Within a transaction the view shows what it showed first.
        await people.sql.execute("select pg_stat_clear_snapshot()")


async def test_scheduling_while_the_match_ends(crowd: People) -> None:
    """Whichever comes first, no meet-up lies ahead of a match that is over."""
    matches = await matches_of(crowd, CALLERS // 2)
    calls = []
    for match in matches:
        calls += [crowd.schedule(match, match.invitee_id), crowd.store.end_match(match.id, match.requester_id)]
    done = await all_at_once(calls)
    assert set(done) <= {"done", "MATCH_NOT_ACCEPTED"}
    assert await crowd.broken_rules() == []


# What may come of an act when others act on the same people. CONFLICT, as which a deadlock shows, is none of it.
OUTRUN = {
    *("PENDING_MATCH_EXISTS", "CANDIDATE_UNAVAILABLE", "MATCH_NOT_PENDING", "NOT_INVITEE", "MATCH_NOT_ACCEPTED"),
    *("MEETUP_EXISTS", "MEETUP_NOT_SCHEDULED", "MEETUP_NOT_STARTED", "MEETUP_STARTED"),
}


class Neighbours:
    """A few people on one block, who do at random what people can do."""

    def __init__(self, people: People, ids: list[str]) -> None:
        self.people = people
        self.ids = ids
        self.done: Counter[str] = Counter()

    async def live(self, source: random.Random, turns: int) -> None:
        """Act so many times for somebody."""
        acts = (self.court, self.meet, self.meet, self.meet, self.meet, self.part, self.move_house)
        for _ in range(turns):
            me, other = source.sample(self.ids, 2)
            act = source.choice(acts)
            result = await outcome(act(source, me, other))
            self.done[f"{act.__name__} {result}" if result == "done" else result] += 1

    async def court(self, source: random.Random, me: str, other: str) -> None:
        """Invite, and answer."""
        asked = await self.people.store.request_match(me, candidate_user_id=other)
        if asked.match.state == "PENDING":
            await self.people.answer(asked.match, source.choice(("ACCEPT", "ACCEPT", "DECLINE")))

    async def meet(self, source: random.Random, me: str, _other: str) -> None:
        """Do something about the latest meet-up of the latest match."""
        matches = (await self.people.store.list_matches(me, states=["ACCEPTED"])).matches
        if not matches:
            return
        match = source.choice(matches)
        page = await self.people.meetups.list_meetups(me, states=["SCHEDULED"], match_id=match.id)
        if not page.meetups:
            await self.people.schedule(match, me, hours=source.uniform(1, 100))
            return
        await self.change(source, me, page.meetups[0].id)

    async def change(self, source: random.Random, me: str, meetup_id: str) -> None:
        """Move, cancel, note, let begin and answer, or sweep."""
        meetups = self.people.meetups
        match source.randrange(6):
            case 0:
                await meetups.cancel_meetup(meetup_id, me)
            case 1 | 2:
                await meetups.reschedule_meetup(meetup_id, me, scheduled_time=in_hours(source.uniform(1, 100)))
            case 3:
                await meetups.update_meetup_notes(meetup_id, me, "Smile.")
                await meetups.expire_meetups()
            case _:
                await self.people.store._database.call("begin_meetup", p_meetup_id=meetup_id)
                answer = source.choice((meetups.confirm_meetup, meetups.confirm_meetup, meetups.report_no_show))
                await answer(meetup_id, me)

    async def part(self, source: random.Random, me: str, other: str) -> None:
        """End a match or block somebody for a moment, and let the week pass after which all may meet again."""
        if source.random() < 0.5:
            matches = (await self.people.store.list_matches(me, states=["ACCEPTED"])).matches
            if matches:
                await self.people.store.end_match(matches[0].id, me)
        else:
            await self.people.store.block_user(me, other)
            await self.people.store.unblock_user(me, other)

    async def move_house(self, source: random.Random, me: str, _other: str) -> None:
        """Have another address, in another place."""
        place = (VIENNA[0] + source.random() / 100, VIENNA[1])
        await self.people.store.upsert_profile(new_profile(me, place, email=f"a{source.random()}@example.org"))


# Pairs are kept apart for a week after each match; here they may meet again at once.
HURRY = """
create function forget_pairing() returns trigger language plpgsql as $$
begin
    if new.cause = 'PAIRED' and new.until <> 'infinity' then
        new.until := now();
    end if;
    return new;
end
$$;
create trigger forget_pairing before insert or update on avoidances for each row execute function forget_pairing();
create function begin_meetup(p_meetup_id uuid) returns jsonb language plpgsql as $$
begin
    perform internal.lock_people(array[requester_id, invitee_id]) from meetups where id = p_meetup_id;
    update meetups set scheduled_time = least(scheduled_time, now()) where id = p_meetup_id and state = 'SCHEDULED';
    return 'null';
end
$$;
grant execute on function begin_meetup to service_role;
"""


async def test_everything_at_once_without_deadlock(crowd: People) -> None:
    """Many callers do everything that people can do, for a few people: no deadlock, and no rule is broken."""
    neighbours = Neighbours(crowd, await crowd.join_many(14))
    await crowd.sql.execute(HURRY)
    try:
        await asyncio.gather(*(neighbours.live(random.Random(caller), 20) for caller in range(CALLERS)))
    finally:
        await crowd.sql.execute("drop function begin_meetup; drop function forget_pairing cascade")
    done = neighbours.done
    acts = {f"{act} done" for act in ("court", "meet", "part", "move_house")}
    assert acts <= set(done) <= acts | OUTRUN | {"MEETUP_ANSWERED"}
    assert [rule for rule in await crowd.broken_rules() if "seven days" not in rule] == []
    states = await crowd.sql.fetch("select state, count(*) from meetups group by state")
    assert {row["state"] for row in states} >= {"COMPLETED", "CANCELLED", "MISSED"}


async def test_erasing_while_others_meet(crowd: People) -> None:
    """People vanish in the middle of everything: no deadlock, no trace of them, and what is left keeps the rules."""
    ids = await crowd.join_many(12)
    matches = [await crowd.match(ids[turn], ids[(turn + step) % 12]) for step in (1, 2) for turn in range(12)]
    leaving = ids[::3]

    async def meet(match: Match, source: random.Random) -> None:
        for _ in range(4):
            person = source.choice((match.requester_id, match.invitee_id))
            with suppress(errors.NotFound, errors.FailedPrecondition):
                meetup = await crowd.schedule(match, person)
                await crowd.meetups.update_meetup_notes(meetup.id, person, "Smile.")
                await crowd.meetups.reschedule_meetup(meetup.id, person, scheduled_time=in_hours(9))
                await crowd.meetups.cancel_meetup(meetup.id, person)

    async def leave(number: int, person: str) -> None:
        await asyncio.sleep(0.05 * number)
        await crowd.store.delete_profile(person)

    meeting = (meet(match, random.Random(number)) for number, match in enumerate(matches))
    await asyncio.gather(*meeting, *(leave(number, person) for number, person in enumerate(leaving)))
    for table in ("meetups", "meetup_notes", "notifications", "request_keys"):
        for person in leaving:
            assert not await crowd.sql.fetchval(
                f"select exists (select from {table} t where t::text like $1)", f"%{person}%"
            )
    assert await crowd.broken_rules() == []
