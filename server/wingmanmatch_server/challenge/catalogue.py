"""The catalogue of challenges: however many ask, at most one of a process reads it at a time.

A copy of it lies in Redis under its version, which is a digest of its content, and the process remembers which version
is in use until it hears that the catalogue changed. So no copy has to be removed when that happens, and a reader that
was slow can store nothing wrong: what it stores is found under the old version only.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from wingmanmatch_server.challenge.rows import Challenge, ChallengeList
from wingmanmatch_server.resilience.deadline import set_deadline

CHANNEL = "challenges"
READ_SECONDS = 5.0


class Source(Protocol):
    """Where the catalogue is."""

    async def list_challenges(self) -> ChallengeList:
        """See `ChallengeStore.list_challenges`."""

    async def get_version(self, known_version: str) -> str:
        """See `ChallengeStore.get_version`."""


class Copies(Protocol):
    """Where copies of it are."""

    async def get(self, version: str) -> Sequence[Challenge] | None:
        """See `RedisCopies.get`."""

    async def put(self, version: str, challenges: Sequence[Challenge]) -> None:
        """See `RedisCopies.put`."""


class Catalogue:
    """The catalogue as it was when it was last heard of a change, by `changed` or by `check`."""

    def __init__(
        self,
        source: Source,
        copies: Copies,
        clock: Callable[[], float],
        on_read: Callable[[str], object] = lambda _place: None,
    ) -> None:
        """`clock` returns monotonic seconds; `on_read` is told of each read where it found the catalogue."""
        self._source = source
        self._copies = copies
        self._clock = clock
        self._on_read = on_read
        self._version: str | None = None
        self._changes = 0
        self._reading: asyncio.Task[Sequence[Challenge]] | None = None

    async def challenges(self) -> Sequence[Challenge]:
        """Return all challenges, in the order of the catalogue. Raises errors.Unavailable.

        Whoever asks after `changed` gets what was read after it.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(self._changes))
            self._reading.add_done_callback(self._done)
        # It goes on without the caller: others wait for it too.
        return await asyncio.shield(self._reading)

    def changed(self) -> None:
        """Forget which version is in use, and let nobody wait for a read that may have begun before the change."""
        self._changes += 1
        self._version = None
        self._reading = None

    async def check(self) -> None:
        """Ask whether the catalogue changed. Raises errors.Unavailable. For where nothing tells of changes."""
        known = self._version
        if known is not None and await self._source.get_version(known) != known:
            self.changed()

    async def _read(self, changes: int) -> Sequence[Challenge]:
        set_deadline(self._clock() + READ_SECONDS)
        if self._version is not None and (copy := await self._copies.get(self._version)) is not None:
            self._on_read("redis")
            return copy
        read = await self._source.list_challenges()
        self._on_read("database")
        if changes == self._changes:
            self._version = read.version
        await self._copies.put(read.version, read.challenges)
        return read.challenges

    def _done(self, task: "asyncio.Task[Sequence[Challenge]]") -> None:
        if self._reading is task:
            self._reading = None
        if not task.cancelled():
            task.exception()  # everybody who waited may be gone: then nobody else takes note of it
