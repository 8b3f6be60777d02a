"""A circuit breaker: stops calling a dependency that is away, and finds out by one call at a time when it is back.

Written here because the libraries let every waiting caller through when half-open, or count a cancelled call.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType

from wingmanmatch_server import errors
from wingmanmatch_server.resilience.deadline import seconds_left

DEADLINE_SLACK = 0.1  # seconds: a caller may give up a moment before or after its deadline


class State(StrEnum):
    """Whether calls reach the dependency."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a breaker opens and for how long; seconds.

    `failure_threshold` failures in a row open it. `probe_lease` is how long one probe may keep the others out: a probe
    that never ends must not keep the breaker half-open for ever. A call that waited for `patience` until its caller's
    deadline cut it off is a failure, since nobody may be found who waits as long as the dependency's own timeout.
    """

    failure_threshold: int
    recovery: float
    probe_lease: float = 10.0
    patience: float = 1.0


OnChange = Callable[[str, State], None]


class Breaker:
    """The circuit breaker of one dependency, for one process and one event loop.

    Only a dependency's absence counts: errors.Unavailable and TimeoutError. Any other outcome, an error included, is an
    answer and proves it there. A cancelled call proves nothing, unless it is the deadline that ended a long wait.
    """

    def __init__(
        self, name: str, limits: Limits, clock: Callable[[], float], on_change: OnChange = lambda _name, _state: None
    ) -> None:
        """`clock` returns monotonic seconds; `on_change` is told every new state."""
        self.name = name
        self.limits = limits
        self.failure_count = 0
        self._clock = clock
        self._on_change = on_change
        self._state = State.CLOSED
        self._open_until = 0.0
        self._probe_until = 0.0
        # Raised with every change of state: what a call finds out counts only for the state it began in.
        self._generation = 0

    @property
    def state(self) -> State:
        """The state at this moment."""
        if self._state is State.OPEN and self._clock() >= self._open_until:
            return State.HALF_OPEN
        return self._state

    def open_for(self) -> float:
        """Return the seconds until a call may pass; 0 if one may now. Takes nothing: only `guard` takes the probe."""
        now = self._clock()
        if self._state is State.OPEN:
            return max(0.0, self._open_until - now)
        if self._state is State.HALF_OPEN:
            return max(0.0, self._probe_until - now)
        return 0.0

    def guard(self) -> "Guard":
        """Return the context of one call. Entering it raises errors.Unavailable, CIRCUIT_OPEN, if none may pass."""
        return Guard(self)

    def reset(self) -> None:
        """Close the breaker, whatever it knew."""
        self._change(State.CLOSED)

    def refusal(self) -> errors.Unavailable:
        """Return the error of a call that may not pass now."""
        message = f"{self.name} is away"
        return errors.Unavailable("CIRCUIT_OPEN", message, {"dependency": self.name}, retry_after=self.open_for())

    def _enter(self) -> int:
        if self.open_for() > 0:
            raise self.refusal()
        if self._state is not State.CLOSED:
            self._change(State.HALF_OPEN)
            self._probe_until = self._clock() + self.limits.probe_lease
        return self._generation

    def _exit(self, generation: int, since: float, error: BaseException | None) -> None:
        if generation != self._generation:
            return
        if isinstance(error, asyncio.CancelledError) and self._stalled(since):
            self._failed()
        elif isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt | SystemExit):
            self._probe_until = 0.0
        elif isinstance(error, errors.Unavailable | TimeoutError):
            self._failed()
        elif self._state is State.HALF_OPEN:
            self._change(State.CLOSED)
        else:
            self.failure_count = 0

    def _stalled(self, since: float) -> bool:
        now = self._clock()
        return now - since >= self.limits.patience and seconds_left(now) <= DEADLINE_SLACK

    def _failed(self) -> None:
        self.failure_count += 1
        if self._state is State.HALF_OPEN or self.failure_count >= self.limits.failure_threshold:
            self._open_until = self._clock() + self.limits.recovery
            self._change(State.OPEN)

    def _change(self, state: State) -> None:
        self._generation += 1
        if state is State.CLOSED:
            self.failure_count = 0
        if state is not self._state:
            self._state = state
            self._on_change(self.name, state)


class Guard:
    """One call under a breaker: `with breaker.guard(): answer = await call()`."""

    __slots__ = ("_breaker", "_generation", "_since")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._generation = 0
        self._since = 0.0

    def __enter__(self) -> None:
        self._generation = self._breaker._enter()  # noqa: SLF001 - two halves of one thing
        self._since = self._breaker._clock()  # noqa: SLF001

    def progressed(self) -> None:
        """Tell that the dependency has just answered a part: the caller's patience begins anew."""
        self._since = self._breaker._clock()  # noqa: SLF001

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._breaker._exit(self._generation, self._since, error)  # noqa: SLF001
