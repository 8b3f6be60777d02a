"""The events of matches in the database: their numbers, who gets them, and how long they are kept."""

import asyncio
import itertools
from typing import Any

from support.people import People
from wingmanmatch_server.matching.rows import Feed, FeedPosition
from wingmanmatch_server.matching.store import MatchingStore

PEOPLE = 6
TURNS = 40


async def events_of(people: People, user_id: str) -> list[dict[str, Any]]:
    """Return all the events of a person, in the order of their numbers."""
    rows = await people.sql.fetch("select * from match_events where user_id = $1 order by sequence", user_id)
    return [dict(row) for row in rows]


async def last_of(store: MatchingStore, user_id: str) -> int:
    """Return the number of a person's last event."""
    (feed,) = await store.read_events([FeedPosition(user_id, None)], limit=1)
    last: int = feed.last_sequence
    return last


async def test_each_change_is_one_event_for_both(people: People) -> None:
    """Every change of state adds one event to both feeds, and nothing else does."""
    requester, invitee = await people.join_many(2)
    match = await people.invite(requester, invitee)
    await people.sql.execute("update matches set venue_suggestion = 'elsewhere'")
    await people.sql.execute("update matches set state = state")
    await people.answer(match, "ACCEPT")
    for user_id in (requester, invitee):
        events = await events_of(people, user_id)
        assert [(event["kind"], event["match_state"]) for event in events] == [
            ("REQUESTED", "PENDING"),
            ("ACCEPTED", "ACCEPTED"),
        ]
        assert events[1]["sequence"] == events[0]["sequence"] + 1


async def test_expiry_is_an_event(people: People) -> None:
    """Invitations that nobody answered tell both people so when they are marked."""
    pairs = [await people.join_many(2) for _ in range(5)]
    for requester, invitee in pairs:
        await people.invite(requester, invitee)
    await people.sql.execute("update matches set expire_time = now()")
    assert await people.store.expire_matches() == len(pairs)
    for user_id in itertools.chain(*pairs):
        assert [event["kind"] for event in await events_of(people, user_id)] == ["REQUESTED", "EXPIRED"]


async def test_change_that_is_undone_is_no_event(people: People) -> None:
    """A transaction that fails leaves neither an event nor a gap."""
    requester, invitee = await people.join_many(2)
    match = await people.invite(requester, invitee)
    before = await last_of(people.store, requester)
    undone = people.sql.transaction()
    await undone.start()
    await people.sql.execute("update matches set state = 'CANCELLED'")
    await people.sql.execute("set constraints all immediate")
    assert await people.sql.fetchval("select max(sequence) from match_events") > before
    await undone.rollback()
    assert await last_of(people.store, requester) == before
    await people.answer(match, "DECLINE")
    assert [event["kind"] for event in await events_of(people, requester)] == ["REQUESTED", "DECLINED"]
    assert await last_of(people.store, requester) == before + 1


async def test_no_reader_ever_sees_a_number_before_a_smaller_one(crowd: People) -> None:
    """While many transactions change many matches at once, every reader sees its feed grow at its end only.

    Each transaction changes the matches of two pairs, in an order of its own: so whoever locked feeds in the order of
    the changes would also meet deadlocks here.
    """
    everybody = await crowd.join_many(PEOPLE)
    pairs = list(itertools.combinations(everybody, 2))
    match_ids = [
        await crowd.sql.fetchval(
            """insert into matches (requester_id, invitee_id, venue_suggestion, message, state)
            values ($1, $2, '', '', 'ENDED') returning id""",
            *pair,
        )
        for pair in pairs
    ]
    begins = {user_id: await last_of(crowd.store, user_id) for user_id in everybody}
    done = asyncio.Event()

    async def change(number: int) -> None:
        for turn in range(TURNS):
            first, second = (match_ids[(number * 7 + turn * step) % len(match_ids)] for step in (3, 5))
            await crowd.store._database.call("flip_matches", p_first=str(first), p_second=str(second))

    async def read(user_id: str) -> list[int]:
        position, seen = begins[user_id], []
        while True:
            finished = done.is_set()
            for feed in await crowd.store.read_events([FeedPosition(user_id, position)], limit=1000):
                seen += [event.sequence for event in feed.events]
                position = seen[-1]
            if finished:
                return seen
            await asyncio.sleep(0)

    await crowd.sql.execute(FLIP)
    try:
        readers = [asyncio.create_task(read(user_id)) for user_id in everybody]
        await asyncio.gather(*(change(number) for number in range(8)))
        done.set()
        seen = await asyncio.gather(*readers)
    finally:
        await crowd.sql.execute("drop function flip_matches")
    for user_id, numbers in zip(everybody, seen, strict=True):
        assert numbers == list(range(begins[user_id] + 1, begins[user_id] + 1 + len(numbers)))
        assert len(numbers) > TURNS
    assert sum(map(len, seen)) == await crowd.sql.fetchval("select count(*) from match_events") - 2 * len(pairs)


# Locks its matches in their order, as callers' lock_people does, but changes them in another.
FLIP = """
create function flip_matches(p_first uuid, p_second uuid) returns jsonb language plpgsql as $$
begin
    perform from matches where id in (p_first, p_second) order by id for update;
    update matches set state = case state when 'ENDED' then 'CANCELLED' else 'ENDED' end where id = p_second;
    update matches set state = case state when 'ENDED' then 'CANCELLED' else 'ENDED' end where id = p_first;
    return 'null';
end
$$;
grant execute on function flip_matches to service_role;
"""


async def test_events_are_kept_for_a_week(people: People) -> None:
    """Older ones go, the oldest first, and a feed whose beginning is gone says so by its numbers."""
    requester, invitee = await people.join_many(2)
    begin = await last_of(people.store, requester)
    match = await people.invite(requester, invitee)
    await people.answer(match, "ACCEPT")
    assert await people.store.purge_events() == 0
    await people.sql.execute("update match_events set event_time = now() - interval '8 days' where kind = 'REQUESTED'")
    assert await people.store.purge_events(limit=1) == 1
    assert await people.store.purge_events() == 1
    (feed,) = await people.store.read_events([FeedPosition(requester, begin)], limit=10)
    assert [event.sequence for event in feed.events] == [begin + 2]


async def test_one_call_reads_many_feeds(people: People) -> None:
    """The answer has those in which something follows, those whose end was asked for, and those that do not exist."""
    requester, invitee, idle = await people.join_many(3)
    ends = {user_id: await last_of(people.store, user_id) for user_id in (requester, invitee, idle)}
    nobody = people.new_id()
    await people.invite(requester, invitee)
    asked = [FeedPosition(user_id, end) for user_id, end in ends.items()]
    asked += [FeedPosition(idle, None), FeedPosition(nobody, 5)]
    feeds = {feed.user_id: feed for feed in await people.store.read_events(asked, limit=10)}
    assert set(feeds) == {requester, invitee, idle, nobody}
    assert [event.kind for event in feeds[invitee].events] == ["REQUESTED"]
    assert feeds[idle] == Feed(idle, after=None, last_sequence=ends[idle], events=())
    assert feeds[nobody].last_sequence is None
