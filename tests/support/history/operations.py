"""What callers asked of a system and what it answered: the operations that a history is made of."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol

NEVER = float("inf")


class Outcome(Enum):
    """What the caller knows of an operation's effect."""

    OK = "ok"  # it took effect once, between start and end, and answered `result`
    REFUSED = "refused"  # it had no effect; `result` is a Refusal
    UNKNOWN = "unknown"  # it may take effect once at any time after its start, or never


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operation was refused: a reason of `ErrorReason`, and the details that a model holds against its state."""

    reason: str
    details: tuple[tuple[str, str], ...] = ()

    def detail(self, name: str) -> str | None:
        """Return one detail, None if the refusal has none of that name."""
        return dict(self.details).get(name)

    def __str__(self) -> str:
        return " ".join((self.reason, *(f"{name}={value}" for name, value in self.details)))


@dataclass(frozen=True, slots=True)
class Operation:
    """One call by one caller. Times are seconds of one monotonic clock; `end` is infinite if the outcome is unknown."""

    caller: int
    key: str
    name: str
    start: float
    end: float
    outcome: Outcome
    arguments: Mapping[str, Hashable] = field(default_factory=dict)
    result: Any = None

    @property
    def ok(self) -> bool:
        """Whether it certainly took effect."""
        return self.outcome is Outcome.OK

    @property
    def unknown(self) -> bool:
        """Whether nobody knows if it took effect."""
        return self.outcome is Outcome.UNKNOWN

    def refused_for(self, reason: str) -> bool:
        """Return whether it may have been refused for this reason; an unknown outcome is no refusal."""
        return isinstance(self.result, Refusal) and self.result.reason == reason

    def signature(self) -> tuple[str, tuple[tuple[str, Hashable], ...]]:
        """Return what two operations share that do the same."""
        return self.name, tuple(sorted(self.arguments.items()))

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        end = "      ?" if self.unknown else f"{self.end:7.3f}"
        answer = "unknown" if self.unknown else f"{self.outcome.value} {self.result}"
        return f"{self.start:7.3f} to {end}  caller {self.caller:<2} {self.name}({arguments}) -> {answer}"


def forgotten(operation: Operation) -> Operation:
    """Return an operation as if nothing had been heard of its outcome. What was linearizable before is so after."""
    return replace(operation, outcome=Outcome.UNKNOWN, end=NEVER, result=None)


class Model(Protocol):
    """A sequential specification. States are immutable and hashable."""

    def initial(self) -> Hashable:
        """Return the state before the first operation."""
        ...

    def step(self, state: Any, operation: Operation) -> Iterable[Hashable]:
        """Return the states that may follow if the operation takes effect now; none if its outcome contradicts `state`.

        A refusal that `state` justifies returns `state`. An unknown outcome returns the states after its effect.
        """
        ...

    def reads(self, operation: Operation) -> bool:
        """Return whether the operation leaves every state as it is."""
        ...
