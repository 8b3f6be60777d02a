"""A circuit breaker: stops calling a dependency that is unavailable, and lets calls through again when it is back.

Written here because the libraries let every waiting caller through when half-open, count a cancelled call, and know of
no probe. `prober.py` has the probe that closes a breaker early, and confirms what callers only suspect.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType

from wingmanmatch_server import errors
from wingmanmatch_server.errors import Evidence
from wingmanmatch_server.resilience.deadline import seconds_left

DEADLINE_SLACK = 0.1  # seconds: a caller may give up a moment before or after its deadline
PROBED_RETRY_AFTER = 1.0  # seconds: a prober closes the breaker long before the recovery time is over


class State(StrEnum):
    """Whether calls reach the dependency."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a breaker opens, and for how long at most; seconds.

    `failure_threshold` failures in a row open it, for `recovery` at most since the last failed attempt; then it is
    half-open, and one call tries. `probe_lease` is how long that call may keep the others out: a call that never ends
    must not keep the breaker half-open for ever. A breaker that is `confirmed` opens only if its probe fails too: calls
    may fail because of one node of several.
    """

    failure_threshold: int
    recovery: float
    probe_lease: float = 10.0
    confirmed: bool = False


OnChange = Callable[[str, State], None]


class Breaker:
    """The circuit breaker of one dependency, for one process and one event loop.

    Only unavailability counts: errors.Unavailable, unless its evidence is NONE, and TimeoutError. Any other outcome, an
    error included, is an answer and starts the count again. A cancelled call proves nothing.

    With a prober (`has_prober`) the breaker is `in_question` while it is open, and while it is closed and there is
    reason to doubt the dependency: an error that says that it refuses writes, or as many calls in a row as the threshold
    that failed or ended by their callers' deadlines. The prober's verdict then closes or opens it. Without one a
    deadline that ends a call counts for nothing.
    """

    def __init__(
        self, name: str, limits: Limits, clock: Callable[[], float], on_change: OnChange = lambda _name, _state: None
    ) -> None:
        """`clock` returns monotonic seconds; `on_change` is called with every new state."""
        self.name = name
        self.limits = limits
        self.failure_count = 0
        self.has_prober = False
        self.in_question = asyncio.Event()
        self._suspicions = 0  # calls in a row that their callers' deadlines ended
        self._writes_refused = False
        self._clock = clock
        self._on_change = on_change
        self._state = State.CLOSED
        self._open_until = 0.0
        self._probe_until = 0.0
        # Incremented with every change of state: what a call finds out counts only for the state it began in.
        self._generation = 0

    @property
    def state(self) -> State:
        """The state at this moment."""
        if self._state is State.OPEN and self._clock() >= self._open_until:
            return State.HALF_OPEN
        return self._state

    def open_for(self) -> float:
        """Return the seconds until a call may pass at the latest; 0 if one may now. Does not take the one place."""
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
        wait = self.open_for()
        return errors.Unavailable(
            "CIRCUIT_OPEN",
            f"{self.name} is unavailable",
            {"dependency": self.name},
            retry_after=min(wait, PROBED_RETRY_AFTER) if self.has_prober else wait,
        )

    def settle(self, *, available: bool) -> None:
        """Take the verdict of a probe that began while the breaker was in question, and with it close or open.

        A probe that fails while the breaker is open makes it stay so for the recovery time from now on.
        """
        if not self.in_question.is_set():
            return
        if available:
            self._change(State.CLOSED)
        else:
            self._open()

    def _enter(self) -> int:
        if self.open_for() > 0:
            raise self.refusal()
        if self._state is not State.CLOSED:
            self._change(State.HALF_OPEN)
            self._probe_until = self._clock() + self.limits.probe_lease
        return self._generation

    def _exit(self, generation: int, error: BaseException | None) -> None:
        if generation != self._generation:
            return
        if isinstance(error, errors.Unavailable | TimeoutError):
            self._failed(getattr(error, "evidence", Evidence.ABSENT))
        elif isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt | SystemExit):
            self._ended_unanswered(overdue=seconds_left(self._clock()) <= DEADLINE_SLACK)
        elif self._state is State.HALF_OPEN:
            self._change(State.CLOSED)
        elif not self._writes_refused:
            self.failure_count = self._suspicions = 0

    def _failed(self, evidence: Evidence) -> None:
        if evidence is Evidence.NONE:
            self._ended_unanswered(overdue=False)
            return
        self.failure_count += 1
        if evidence is Evidence.REFUSES_WRITES and self.has_prober:
            self._writes_refused = True
            self.in_question.set()
        if self._state is State.HALF_OPEN:
            self._open()
        elif self.failure_count >= self.limits.failure_threshold and not (self.limits.confirmed and self.has_prober):
            self._open()
        else:
            self._suspect()

    def _ended_unanswered(self, *, overdue: bool) -> None:
        if self._state is State.HALF_OPEN:
            self._probe_until = 0.0
        elif overdue and self.has_prober:
            self._suspicions += 1
            self._suspect()

    def _suspect(self) -> None:
        if self.has_prober and self.failure_count + self._suspicions >= self.limits.failure_threshold:
            self.in_question.set()

    def _open(self) -> None:
        self._open_until = self._clock() + self.limits.recovery
        self._change(State.OPEN)

    def _change(self, state: State) -> None:
        self._generation += 1
        if state is State.CLOSED:
            self.failure_count = self._suspicions = 0
            self._writes_refused = False
            self.in_question.clear()
        else:
            self.in_question.set()
        if state is not self._state:
            self._state = state
            self._on_change(self.name, state)


class Guard:
    """One call under a breaker: `with breaker.guard(): answer = await call()`."""

    __slots__ = ("_breaker", "_generation")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._generation = 0

    def __enter__(self) -> None:
        self._generation = self._breaker._enter()  # noqa: SLF001 - two halves of one thing

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._breaker._exit(self._generation, error)  # noqa: SLF001
