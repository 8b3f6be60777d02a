"""Streams of events read from a database, over each transport: heartbeats, backlogs, many readers, failed reads."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from support.databases import fresh_database, open_database
from support.people import People
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.matching.rows import Feed, FeedPosition
from wingmanmatch_server.matching.store import MatchingStore
from wingmanmatch_server.matching.watch import MatchWatch, Pace

SMALL = Pace(buffer=8, heartbeat=60, poll=0.05, retry=0.05, batch=3)
LONG = 10.0
Updates = AsyncGenerator[tuple[Any, int]]


class World:
    """People on a database, and ways to make much happen to them."""

    def __init__(self, people: People, database: Database) -> None:
        self.people = people
        self.database = database

    async def pair(self) -> tuple[str, str]:
        """Return two people of whom one has invited the other."""
        first, second = await self.people.join_many(2)
        await self.people.invite(first, second)
        return first, second

    async def flip(self, user_id: str, times: int) -> None:
        """Let a person's match change its state so often, each time by itself."""
        for turn in range(times):
            state = ("CANCELLED", "EXPIRED")[turn % 2]
            await self.people.sql.execute("update matches set state = $2 where requester_id = $1", user_id, state)

    async def last(self, user_id: str) -> int:
        """Return the number of a person's last event."""
        (feed,) = await self.people.store.read_events([FeedPosition(user_id, None)], limit=1)
        last: int = feed.last_sequence
        return last

    @asynccontextmanager
    async def watch(self, pace: Pace = SMALL, events: Any = None) -> AsyncIterator[MatchWatch]:
        """Yield a running reader."""
        watch = MatchWatch(events or self.people.store, self.database.follow, pace)
        task = asyncio.create_task(watch.run())
        try:
            yield watch
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(scope="module")
async def world(admin_dsn: str, transport: str) -> AsyncIterator[World]:
    """A world that a module's tests share, over each transport."""
    async with fresh_database(admin_dsn) as dsn, open_database(dsn, transport) as database:
        sql = await asyncpg.connect(dsn)
        store = MatchingStore(database, max_daily_matches=10)
        yield World(People(store, sql, random.Random(3)), database)
        await sql.close()


async def take(updates: Updates, count: int) -> list[int]:
    """Return the numbers of the next events, past heartbeats."""
    numbers: list[int] = []
    async with asyncio.timeout(LONG):
        while len(numbers) < count:
            event, number = await anext(updates)
            numbers += [number] if event else []
    return numbers


async def test_heartbeats_come_while_nothing_happens(world: World) -> None:
    """A stream begins with a heartbeat, and another comes whenever it was silent for a while, of the same number."""
    user_id, _ = await world.pair()
    last = await world.last(user_id)
    async with world.watch(Pace(heartbeat=0.02)) as watch, aclosing(watch.updates(user_id, None)) as updates:
        async with asyncio.timeout(LONG):
            assert [await anext(updates) for _ in range(3)] == [(None, last)] * 3


async def test_long_backlog_comes_at_the_readers_pace(world: World) -> None:
    """Whoever resumes far behind gets everything, once, in order, though it is many times the buffer."""
    user_id, _ = await world.pair()
    begin = await world.last(user_id)
    await world.flip(user_id, 60)
    async with world.watch() as watch, aclosing(watch.updates(user_id, begin)) as updates:
        assert await anext(updates) == (None, begin)
        assert await take(updates, 60) == list(range(begin + 1, begin + 61))
        await world.flip(user_id, 2)
        assert await take(updates, 2) == [begin + 61, begin + 62]


async def test_readers_of_one_person_each_get_their_own(world: World) -> None:
    """Streams of one person that begin at different places each get what follows their place."""
    user_id, _ = await world.pair()
    begin = await world.last(user_id)
    await world.flip(user_id, 20)
    starts = [begin, begin + 7, begin + 20, None]
    async with world.watch() as watch:
        streams = [watch.updates(user_id, start) for start in starts]
        async with asyncio.timeout(LONG):
            opened = [await anext(stream) for stream in streams]
        assert opened == [(None, begin), (None, begin + 7), (None, begin + 20), (None, begin + 20)]
        assert watch.stream_count == len(starts)
        await world.flip(user_id, 3)
        for stream, (_, start) in zip(streams, opened, strict=True):
            assert await take(stream, begin + 23 - start) == list(range(start + 1, begin + 24))
            await stream.aclose()
        assert watch.stream_count == 0


async def test_many_people_are_read_in_batches(world: World) -> None:
    """More people than one call asks about all get their events."""
    pairs = [await world.pair() for _ in range(8)]
    async with world.watch() as watch:
        streams = {first: watch.updates(first, None) for first, _ in pairs}
        async with asyncio.timeout(LONG):
            begins = {user_id: (await anext(stream))[1] for user_id, stream in streams.items()}
        for user_id in streams:
            await world.flip(user_id, 1)
        for user_id, stream in streams.items():
            assert await take(stream, 1) == [begins[user_id] + 1]
            await stream.aclose()


class Failing:
    """A way to the database that fails as often as it is told to."""

    def __init__(self, store: MatchingStore) -> None:
        self.store = store
        self.failures: list[Exception] = []

    async def read_events(self, positions: Sequence[FeedPosition], *, limit: int) -> Sequence[Feed]:
        """Fail, or read."""
        if self.failures:
            raise self.failures.pop()
        return await self.store.read_events(positions, limit=limit)


async def test_open_streams_outlive_failed_reads(world: World) -> None:
    """While the database does not answer, or a defect shows, open streams wait, and get everything afterwards."""
    user_id, _ = await world.pair()
    events = Failing(world.people.store)
    async with world.watch(events=events) as watch, aclosing(watch.updates(user_id, None)) as updates:
        _, begin = await anext(updates)
        events.failures = [errors.Unavailable("DATABASE_UNAVAILABLE", "away"), ValueError("a defect")]
        await world.flip(user_id, 2)
        assert await take(updates, 2) == [begin + 1, begin + 2]
        assert events.failures == []


async def test_stream_that_cannot_begin_says_so(world: World) -> None:
    """A stream whose first read fails is ended by the error instead of waiting in the dark."""
    user_id, _ = await world.pair()
    events = Failing(world.people.store)
    events.failures = [errors.Unavailable("CIRCUIT_OPEN", "away")]
    async with world.watch(events=events) as watch, aclosing(watch.updates(user_id, None)) as updates:
        with pytest.raises(errors.Unavailable) as caught:
            await anext(updates)
        assert caught.value.reason == "CIRCUIT_OPEN"
