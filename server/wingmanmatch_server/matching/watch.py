"""Fans the events of watched people out to their streams: one reader of the database for the whole process.

The database tells who has new events, by NOTIFY where the transport can listen; otherwise the reader asks about
everybody who is watched, in one call, now and then. Either way it then reads what follows the last event that the
streams of those people hold. The numbers of a person's events have no gaps, so a stream that is handed the next number
has missed nothing, whichever replica the change went through.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.paging import invalid_resume_token

log = structlog.get_logger(__name__)

CHANNEL = "match_events"
RETRY_AFTER = 1.0  # seconds after which a stream that was ended may be opened again
Json = dict[str, Any]
Follow = Callable[[str, Callable[[str | None], None]], Awaitable[Callable[[], Awaitable[None]] | None]]


class Events(Protocol):
    """Where events are read."""

    async def read_events(self, feeds: Sequence[Json], *, limit: int) -> Sequence[Json]:
        """See `MatchingStore.read_events`."""


class Ask(NamedTuple):
    """What is asked about one person: the events after a number, or with None the number of the last event."""

    user_id: str
    after: int | None


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


class Stream:
    """One reader of one person's events.

    `position` is the number of the last event handed to it, None until the first read. It is `live` once that was the
    person's last: before, it is behind by its own wish and reads at its own speed; after, its buffer has to suffice.
    """

    __slots__ = ("_buffer", "_size", "_wake", "error", "live", "opened", "position")

    def __init__(self, position: int | None, size: int) -> None:
        self.position = position
        self.opened = False
        self.live = False
        self.error: errors.DomainError | None = None
        self._buffer: deque[Json] = deque()
        self._size = size
        self._wake = asyncio.Event()

    @property
    def wants(self) -> bool:
        """Whether the next event is to be read for it."""
        return self.live or len(self._buffer) < self._size

    @property
    def is_behind(self) -> bool:
        """Whether it has handed out all that was read for it, and more can be read."""
        return not (self.live or self._buffer)

    def open(self, position: int) -> None:
        """Begin behind the event of that number, which is the person's last."""
        self.position, self.live = position, True
        self._opened()

    def end(self, error: errors.DomainError) -> None:
        """Let the reader get `error` next; what it was not handed yet it can read again."""
        self.error = self.error or error
        self._buffer.clear()
        self._wake.set()

    def offer(self, last: int, events: Sequence[Json]) -> None:
        """Take those of the events that come next; `last` is the number of the person's last event."""
        assert self.position is not None
        if last < self.position:
            return self.end(invalid_resume_token())
        for event in events:
            if event["sequence"] <= self.position:
                continue
            if event["sequence"] != self.position + 1:
                return self.end(_expired())
            if len(self._buffer) == self._size:
                if self.live:
                    return self.end(_too_slow())
                break
            self._buffer.append(event)
            self.position += 1
        if not events and last > self.position:
            return self.end(_expired())
        self.live = self.live or self.position == last
        return self._opened()

    async def wait_until_open(self) -> None:
        """Wait for the first read. Raises what ended the stream."""
        while not self.opened:
            self._raise_error()
            await self._wake.wait()
        self._wake.clear()

    async def next(self, seconds: float) -> Json | None:
        """Return the next event, or None if none came in so many seconds. Raises what ended the stream."""
        self._raise_error()
        if not self._buffer:
            try:
                async with asyncio.timeout(seconds):
                    await self._filled()
            except TimeoutError:
                return None
        return self._buffer.popleft()

    async def _filled(self) -> None:
        while not self._buffer:
            self._wake.clear()
            # What was read may have been for another stream of the same person: then there is nothing yet.
            await self._wake.wait()
            self._raise_error()

    def _opened(self) -> None:
        self.opened = True
        self._wake.set()

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error


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

    async def updates(self, user_id: str, after: int | None) -> AsyncGenerator[tuple[Json | None, int]]:
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
                number = event["sequence"] if event else number
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

    def _asks(self, user_id: str) -> list[Ask]:
        streams = self._streams.get(user_id, ())
        known = [stream.position for stream in streams if stream.position is not None and stream.wants]
        asks = [Ask(user_id, min(known))] if known else []
        if any(stream.position is None for stream in streams):
            asks.append(Ask(user_id, None))
        return asks

    async def _read(self, asks: Sequence[Ask]) -> None:
        feeds = await self._events.read_events([ask._asdict() for ask in asks], limit=self._pace.buffer)
        found = {Ask(feed["user_id"], feed["after"]): feed for feed in feeds}
        for ask in asks:
            self._hand_out(ask, found.get(ask))

    def _hand_out(self, ask: Ask, feed: Json | None) -> None:
        for stream in self._streams.get(ask.user_id, ()):
            if feed is None:
                # Nothing follows what was asked about.
                if stream.position is not None and stream.position == ask.after:
                    stream.open(stream.position)
            elif feed["last_sequence"] is None:
                stream.end(_not_found(ask.user_id))
            elif ask.after is None:
                if stream.position is None:
                    stream.open(feed["last_sequence"])
            elif stream.position is not None and stream.position >= ask.after:
                stream.offer(feed["last_sequence"], feed["events"])
        if feed is not None and feed["events"] and feed["events"][-1]["sequence"] < feed["last_sequence"]:
            self._mark(ask.user_id)

    def _put_off(self, asks: Sequence[Ask], error: errors.DomainError) -> None:
        """Read again later; who has not begun yet is told."""
        user_ids = {ask.user_id for ask in asks}
        for user_id in user_ids:
            for stream in self._streams.get(user_id, ()):
                if not stream.opened:
                    stream.end(error)
        asyncio.get_running_loop().call_later(self._pace.retry, self._mark, *user_ids)


def _not_found(user_id: str) -> errors.NotFound:
    return errors.NotFound("PROFILE_NOT_FOUND", "no profile exists for this user_id", {"user_id": user_id})


def _expired() -> errors.FailedPrecondition:
    message = "events after resume_token are no longer kept; list the matches and watch from now on"
    return errors.FailedPrecondition("RESUME_TOKEN_EXPIRED", message)


def _too_slow() -> errors.Aborted:
    return errors.Aborted("READER_TOO_SLOW", "more happened than was read in time; resume with the last resume_token")


def _stopping() -> errors.Unavailable:
    return errors.Unavailable("DRAINING", "the server is stopping; resume at another", retry_after=RETRY_AFTER)


def _unreadable() -> errors.Unavailable:
    return errors.Unavailable("DATABASE_UNAVAILABLE", "the database does not answer", retry_after=RETRY_AFTER)
