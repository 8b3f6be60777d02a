"""One reader of one person's events: what was read for it and not handed out yet."""

import asyncio
from collections import deque
from collections.abc import Sequence

from wingmanmatch_server import errors
from wingmanmatch_server.matching.rows import MatchEvent
from wingmanmatch_server.paging import invalid_resume_token


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
        self._buffer: deque[MatchEvent] = deque()
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

    def offer(self, last: int, events: Sequence[MatchEvent]) -> None:
        """Take those of the events that come next; `last` is the number of the person's last event."""
        assert self.position is not None
        if last < self.position:
            return self.end(invalid_resume_token())
        for event in events:
            if event.sequence <= self.position:
                continue
            if event.sequence != self.position + 1:
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

    async def next(self, seconds: float) -> MatchEvent | None:
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


def _expired() -> errors.FailedPrecondition:
    message = "events after resume_token are no longer kept; list the matches and watch from now on"
    return errors.FailedPrecondition("RESUME_TOKEN_EXPIRED", message)


def _too_slow() -> errors.Aborted:
    return errors.Aborted("READER_TOO_SLOW", "more happened than was read in time; resume with the last resume_token")
