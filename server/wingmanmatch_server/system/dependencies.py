"""Asks everything outside the process whether it is there, so that nobody who wants to know has to."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from wingmanmatch_server import errors

PING_TIMEOUT = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something to ask. `ping` returns the seconds a round trip took; `detail` says in a few words how it is used."""

    name: str
    detail: str
    ping: Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Check:
    """What one dependency answered last; `latency` is in seconds, None if it did not."""

    name: str
    healthy: bool
    detail: str
    latency: float | None
    time: datetime


class Dependencies:
    """The latest answer of each dependency."""

    def __init__(
        self, dependencies: Sequence[Dependency], now: Callable[[], datetime], *, patience: float = PING_TIMEOUT
    ) -> None:
        """A dependency that does not answer within `patience` seconds is unhealthy."""
        self._patience = patience
        self._dependencies = dependencies
        self._now = now
        self.latest: Sequence[Check] = ()

    async def check(self) -> None:
        """Ask them all, side by side, and remember what they answer."""
        self.latest = await asyncio.gather(*(self._ask(dependency) for dependency in self._dependencies))

    def is_healthy(self, name: str) -> bool:
        """Tell whether a dependency answered when last asked; one that was not asked yet counts as there."""
        return all(check.healthy for check in self.latest if check.name == name)

    async def _ask(self, dependency: Dependency) -> Check:
        try:
            async with asyncio.timeout(self._patience):
                latency = await dependency.ping()
        except (errors.DomainError, TimeoutError) as error:
            why = error.message if isinstance(error, errors.DomainError) else f"no answer in {self._patience:g} s"
            return Check(dependency.name, healthy=False, detail=why, latency=None, time=self._now())
        return Check(dependency.name, healthy=True, detail=dependency.detail, latency=latency, time=self._now())
