"""A model whose system may fall back to an earlier state when it is killed or fails over.

What is lost is always the latest: a suffix of what was acknowledged, no older than the window says. Reads that saw it
before stay true. A history that is linearizable only under this model has lost acknowledged changes.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from support.history.linearizability import Linearizable
from support.history.operations import Model, Operation, Outcome

CRASH = "crash"


def crash(key: str, start: float, end: float) -> Operation:
    """Return the crash of a system between two moments, as an operation of one key's history."""
    return Operation(caller=0, key=key, name=CRASH, start=start, end=end, outcome=Outcome.OK)


@dataclass(frozen=True, slots=True)
class Volatile:
    """The present state, and the states before the latest changes, each with the end of the change that replaced it."""

    now: Hashable
    before: tuple[tuple[Hashable, float], ...] = ()


class ForgetfulModel:
    """`model` on a system that forgets, at each of the crashes, what it acknowledged in the `window` seconds before."""

    def __init__(self, model: Model, crashes: Sequence[Operation], window: float) -> None:
        self._model = model
        self._crashes = crashes
        self._window = window

    def initial(self) -> Volatile:
        """Return the initial state of the model, with nothing to lose."""
        return Volatile(self._model.initial())

    def step(self, state: Volatile, operation: Operation) -> Iterable[Volatile]:
        """Return what may follow; after a crash that is the present state first, then those further back."""
        if operation.name != CRASH:
            return [self._changed(state, after, operation) for after in self._model.step(state.now, operation)]
        return [Volatile(state.now), *(Volatile(before) for before in self._in_danger(state, operation))]

    def reads(self, operation: Operation) -> bool:
        """Return whether the operation leaves every state as it is."""
        return operation.name != CRASH and self._model.reads(operation)

    def _changed(self, state: Volatile, after: Hashable, operation: Operation) -> Volatile:
        if after == state.now:
            return state
        # What no crash can reach is settled: to remember it would only make states differ.
        if not any(self._is_in_danger(operation.end, each) and operation.start <= each.end for each in self._crashes):
            return Volatile(after)
        return Volatile(after, (*state.before, (state.now, operation.end)))

    def _in_danger(self, state: Volatile, crashed: Operation) -> Iterable[Hashable]:
        for before, acknowledged in reversed(state.before):
            if not self._is_in_danger(acknowledged, crashed):
                return
            yield before

    def _is_in_danger(self, acknowledged: float, crashed: Operation) -> bool:
        return acknowledged >= crashed.start - self._window


def count_lost(verdict: Linearizable) -> int:
    """Return how many acknowledged changes the found order loses in crashes."""
    lost, changes = 0, list[tuple[Any, Operation]]()
    for operation, state in verdict.order:
        if operation.name == CRASH:
            while changes and changes[-1][0] != state.now:
                lost += changes.pop()[1].ok
            changes.clear()
        elif not changes or changes[-1][0] != state.now:
            changes.append((state.now, operation))
    return lost
