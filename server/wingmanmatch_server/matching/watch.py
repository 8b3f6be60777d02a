"""Fans the events of watched people out to their streams: one reader of the database for the whole process.

The database tells who has new events, by NOTIFY where the transport can listen; otherwise the reader asks about
everybody who is watched, in one call, now and then. Either way it then reads what follows the last event that the
streams of those people hold. The numbers of a person's events have no gaps, so a stream that is handed the next number
has missed nothing, whichever replica the change went through.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.matching.rows import Feed, FeedPosition, MatchEvent
from wingmanmatch_server.matching.stream import Stream

log = structlog.get_logger(__name__)

CHANNEL = "match_events"
RETRY_AFTER = 1.0  # seconds after which a stream that was ended may be opened again
Follow = Callable[[str, Callable[[str | None], None]], Awaitable[Callable[[], Awaitable[None]] | None]]


class Events(Protocol):
    """Where events are read."""

    async def read_events(self, positions: Sequence[FeedPosition], *, limit: int) -> Sequence[Feed]:
        """See `MatchingStore.read_events`."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much, and how often. Times in seconds.

    A stream buffers at most `buffer` events. While nothing happens it gets a heartbeat every `heartbeat`. Who cannot
    listen polls every `poll`. A read that failed is repeated after `retry`. One call asks about `batch` people at most.
    """

    buffer: int = 64
    heartbeat: float = 20.0
    poll: float = 1.0
    retry: float = 1.0
    batch: int = 1000


class MatchWatch:
    """The streams of one process, and what reads for them."""

    def __init__(self, events: Events, follow: Follow, pace: Pace = Pace()) -> None:
        """`follow` is `Database.follow`."""
        self._events = events
        self._follow = follow
        self._pace = pace
        self._streams: dict[str, list[Stream]] = {}
        self._due: set[str] = set()
        self._wake = asyncio.Event()
        self._draining = False

    @property
    def stream_count(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._streams.values()))

    async def updates(self, user_id: str, after: int | None) -> AsyncGenerator[tuple[MatchEvent | None, int]]:
        """Yield (event, its number) for what happens after the event numbered `after`, or from now on.

        The first yielded, and one whenever nothing happened for a while, is a heartbeat: None, and the number of the
        last event yielded. Raises errors.NotFound for nobody, errors.InvalidArgument and errors.FailedPrecondition
        about `after`, errors.Aborted for a reader that is too slow, and errors.Unavailable when the server stops.
        """
        with self._joined(user_id, after) as stream:
            await stream.wait_until_open()
            number = after if after is not None else stream.position
            assert number is not None
            yield None, number
            while True:
                if stream.is_behind:
                    self._mark(user_id)
                event = await stream.next(self._pace.heartbeat)
                number = event.sequence if event else number
                yield event, number

    def drain(self) -> None:
        """End every stream, and refuse new ones: the server is about to stop."""
        self._draining = True
        for streams in self._streams.values():
            for stream in streams:
                stream.end(_stopping())

    async def run(self) -> None:
        """Read for the streams until cancelled."""
        end = await self._follow(CHANNEL, self._changed)
        try:
            async with asyncio.TaskGroup() as group:
                if end is None:
                    group.create_task(self._poll())
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    await self._read_due()
        finally:
            if end is not None:
                await end()

    @contextmanager
    def _joined(self, user_id: str, after: int | None) -> Iterator[Stream]:
        if self._draining:
            raise _stopping()
        stream = Stream(after, self._pace.buffer)
        self._streams.setdefault(user_id, []).append(stream)
        self._mark(user_id)
        try:
            yield stream
        finally:
            self._streams[user_id].remove(stream)
            if not self._streams[user_id]:
                del self._streams[user_id]

    def _changed(self, user_id: str | None) -> None:
        if user_id is None:
            # Newly connected: whatever was said before was not heard.
            self._mark(*self._streams)
        elif user_id in self._streams:
            self._mark(user_id)

    def _mark(self, *user_ids: str) -> None:
        if user_ids:
            self._due.update(user_ids)
            self._wake.set()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._pace.poll)
            self._mark(*self._streams)

    async def _read_due(self) -> None:
        asks = [ask for user_id in self._due for ask in self._asks(user_id)]
        self._due.clear()
        for start in range(0, len(asks), self._pace.batch):
            batch = asks[start : start + self._pace.batch]
            try:
                await self._read(batch)
            except errors.DomainError as error:
                log.warning("watch_read_failed", reason=error.reason)
                self._put_off(batch, error)
            except Exception:
                log.exception("watch_read_failed")
                self._put_off(batch, _unreadable())

    def _asks(self, user_id: str) -> list[FeedPosition]:
        streams = self._streams.get(user_id, ())
        known = [stream.position for stream in streams if stream.position is not None and stream.wants]
        asks = [FeedPosition(user_id, min(known))] if known else []
        if any(stream.position is None for stream in streams):
            asks.append(FeedPosition(user_id, None))
        return asks

    async def _read(self, asks: Sequence[FeedPosition]) -> None:
        feeds = await self._events.read_events(asks, limit=self._pace.buffer)
        found = {FeedPosition(feed.user_id, feed.after): feed for feed in feeds}
        for ask in asks:
            self._hand_out(ask, found.get(ask))

    def _hand_out(self, ask: FeedPosition, feed: Feed | None) -> None:
        for stream in self._streams.get(ask.user_id, ()):
            if feed is None:
                # Nothing follows what was asked about.
                if stream.position is not None and stream.position == ask.after:
                    stream.open(stream.position)
            elif feed.last_sequence is None:
                stream.end(_not_found(ask.user_id))
            elif ask.after is None:
                if stream.position is None:
                    stream.open(feed.last_sequence)
            elif stream.position is not None and stream.position >= ask.after:
                stream.offer(feed.last_sequence, feed.events)
        if feed is not None and feed.has_more:
            self._mark(ask.user_id)

    def _put_off(self, asks: Sequence[FeedPosition], error: errors.DomainError) -> None:
        """Read again later; who has not begun yet is told."""
        user_ids = {ask.user_id for ask in asks}
        for user_id in user_ids:
            for stream in self._streams.get(user_id, ()):
                if not stream.opened:
                    stream.end(error)
        asyncio.get_running_loop().call_later(self._pace.retry, self._mark, *user_ids)


def _not_found(user_id: str) -> errors.NotFound:
    return errors.NotFound("PROFILE_NOT_FOUND", "no profile exists for this user_id", {"user_id": user_id})


def _stopping() -> errors.Unavailable:
    return errors.Unavailable("DRAINING", "the server is stopping; resume at another", retry_after=RETRY_AFTER)


def _unreadable() -> errors.Unavailable:
    return errors.Unavailable("DATABASE_UNAVAILABLE", "the database does not answer", retry_after=RETRY_AFTER)
