"""Bulkheads: how much of the database's connections one function, one person and background work may hold.

Without them whatever is slow or locked ends up with every connection, and everybody waits for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database_errors import overloaded

K = TypeVar("K")

# Parameters that name who or what a call is about: calls about the same wait for the same rows.
SUBJECTS = ("p_user_id", "p_candidate_user_id", "p_blocked_user_id", "p_match_id", "p_meetup_id")
# Seconds to wait for a place, and the part of a caller's time if that is less: locks have the rest.
LONGEST_WAIT = 1.0
PART_OF_PATIENCE = 0.25


class Share(StrEnum):
    """What is shared out, in the order in which a call that waits is told about it."""

    USER = "user"
    BACKGROUND = "background"
    FUNCTION = "function"
    CONNECTIONS = "connections"


@dataclass(frozen=True, slots=True)
class ShareLimits:
    """Calls that may be under way at a time: in all, of one function, about one person, and for nobody who waits.

    Reads and changes about one person are counted apart: reads wait for no row.
    """

    connections: int = 20
    function: int = 10
    user: int = 4
    background: int = 5

    @classmethod
    def of(cls, connections: int, *, function_share: float, background_share: float, user: int) -> "ShareLimits":
        """Return the limits for a pool; a share is a part of it, and at least one call."""
        return cls(
            connections,
            function=max(1, int(connections * function_share)),
            user=user,
            background=max(1, int(connections * background_share)),
        )


@dataclass(slots=True, eq=False)  # frozen, it would cost a third of all that is done here for a call
class Place:
    """What one call takes: a place in each of its shares. `users` has whom it is about, and whether it only reads."""

    function: str
    users: tuple[tuple[str, bool], ...]
    background: bool


@dataclass(eq=False, slots=True)
class _Waiter:
    place: Place
    woken: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Shares:
    """The places of one pool, for one event loop. A call takes all that it needs at once, or waits and holds nothing.

    Who waits is served in turn, but for those whose own share is still full.
    """

    def __init__(self, limits: ShareLimits, on_refusal: Callable[[Share], object] = lambda _share: None) -> None:
        """`on_refusal` is told which share was full for as long as a call could wait."""
        self.limits = limits
        self._on_refusal = on_refusal
        self._functions: dict[str, int] = {}
        self._users: dict[tuple[str, bool], int] = {}
        self._background = 0
        self._total = 0
        self._waiters: deque[_Waiter] = deque()

    def in_use(self, share: Share) -> int:
        """Return the places taken; of functions and people, those of whichever has most."""
        match share:
            case Share.USER:
                return max(self._users.values(), default=0)
            case Share.FUNCTION:
                return max(self._functions.values(), default=0)
            case Share.BACKGROUND:
                return self._background
            case Share.CONNECTIONS:
                return self._total

    def waiting(self, share: Share) -> int:
        """Return the calls that wait for this share first of all."""
        return sum(self._full(waiter.place) is share for waiter in self._waiters)

    async def take(self, function: str, parameters: Mapping[str, Any], *, reads: bool, left: float) -> Place:
        """Return a place, to be given to `leave`; `left` is how many seconds the caller still waits.

        Raises errors.Aborted CONFLICT if others about the same person do not end, and errors.ResourceExhausted
        OVERLOADED if another share stays full. Background work, whose `left` is infinite, waits as long as it takes.
        """
        place = Place(function, _subjects(parameters, reads=reads), left == float("inf"))
        if self._full(place) is None:
            self._enter(place)
        else:
            await self._wait(place, None if place.background else min(LONGEST_WAIT, max(0.0, left * PART_OF_PATIENCE)))
        return place

    def leave(self, place: Place) -> None:
        """Give a place back, and let in whoever waits for it."""
        self._total -= 1
        self._background -= place.background
        _decrement(self._functions, place.function)
        for user in place.users:
            _decrement(self._users, user)
        if self._waiters:
            self._let_in()

    def _full(self, place: Place) -> Share | None:
        limits = self.limits
        for user in place.users:
            if self._users.get(user, 0) >= limits.user:
                return Share.USER
        if place.background and self._background >= limits.background:
            return Share.BACKGROUND
        if self._functions.get(place.function, 0) >= limits.function:
            return Share.FUNCTION
        return Share.CONNECTIONS if self._total >= limits.connections else None

    def _enter(self, place: Place) -> None:
        self._total += 1
        self._background += place.background
        self._functions[place.function] = self._functions.get(place.function, 0) + 1
        for user in place.users:
            self._users[user] = self._users.get(user, 0) + 1

    def _let_in(self) -> None:
        for waiter in list(self._waiters):
            if self._total >= self.limits.connections:
                return
            if not waiter.woken.done() and self._full(waiter.place) is None:
                self._waiters.remove(waiter)
                self._enter(waiter.place)
                waiter.woken.set_result(None)

    async def _wait(self, place: Place, seconds: float | None) -> None:
        waiter = _Waiter(place)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter.woken
        except BaseException as error:
            if waiter.woken.done() and not waiter.woken.cancelled():
                self.leave(place)  # let in, and gone at the same moment
            else:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise self._refusal(place) from None
            raise

    def _refusal(self, place: Place) -> errors.DomainError:
        share = self._full(place) or Share.CONNECTIONS
        self._on_refusal(share)
        if share is Share.USER:
            return errors.Aborted("CONFLICT", "other calls about the same person are under way; repeat the call")
        return overloaded()


def _subjects(parameters: Mapping[str, Any], *, reads: bool) -> tuple[tuple[str, bool], ...]:
    named = {value for name in SUBJECTS if isinstance(value := parameters.get(name), str)}
    profile = parameters.get("p_profile")
    if isinstance(profile, Mapping) and isinstance(user_id := profile.get("user_id"), str):
        named.add(user_id)
    return tuple((value, reads) for value in named)


def _decrement(counter: dict[K, int], key: K) -> None:
    # What nobody uses is forgotten, or every person who ever called would stay.
    if counter[key] > 1:
        counter[key] -= 1
    else:
        del counter[key]
