"""A client that watches a person's matches, and what the database has for that person."""

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_client import Client


class Event(NamedTuple):
    """An event of one person's feed, in which no two have one time."""

    time: datetime
    kind: str
    match_id: str
    meetup_id: str


class Watcher:
    """One stream of `user_id`, from now on, opened again by the client whenever it breaks."""

    def __init__(self, client: Client, user_id: str) -> None:
        self.user_id = user_id
        self.seen: list[Event] = []
        self.opened = asyncio.Event()
        self._grown = asyncio.Condition()
        self.task = asyncio.create_task(self._watch(client))

    async def saw(self, count: int, patience: float) -> None:
        """Return once it has seen so many events; raise TimeoutError after `patience` seconds."""
        async with asyncio.timeout(patience), self._grown:
            await self._grown.wait_for(lambda: len(self.seen) >= count)

    async def _watch(self, client: Client) -> None:
        async for message in client.matching.watch_matches(user_id=self.user_id, heartbeats=True):
            self.opened.set()
            if message.HasField("event"):
                async with self._grown:
                    self.seen.append(event_of(message.event))
                    self._grown.notify_all()


def event_of(event: matching_pb2.MatchEvent) -> Event:
    """Return what identifies an event as it came over the wire."""
    kind = matching_pb2.MatchEventKind.Name(event.kind).removeprefix("MATCH_EVENT_KIND_")
    return Event(event.event_time.ToDatetime(UTC), kind, event.match.id, event.meetup_id)


async def recorded_events(sql: asyncpg.Connection, user_id: str) -> list[Event]:
    """Return the events that the database has for a person, in order; fail if their numbers have a gap."""
    rows = await sql.fetch(
        "select sequence, event_time, kind, match_id::text, coalesce(meetup_id::text, '') from match_events"
        " where user_id = $1::uuid order by sequence",
        user_id,
    )
    numbers = [row[0] for row in rows]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    events = [Event(*row[1:]) for row in rows]
    assert len({event.time for event in events}) == len(events)
    return events
