"""Decides whether a history is linearizable.

It is if its operations, each at one instant between its start and its end, could have been done one after the other by
a sequential model.

The search is Wing and Gong's with two of Lowe's refinements ("Testing for linearizability", 2017): an operation is put
in order no earlier than the first end that needs it, and no configuration is looked at twice. A configuration is how
far the history was followed, the model's state, and which of the operations under way have taken effect already. Three
things keep the number of configurations small without losing an order: a read that the state explains is put in order
at once; an unknown operation that would change nothing is left out; of unknown operations that do the same the earliest
goes first. Nothing recurses, so a history's length is limited by time alone.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from support.history.operations import Model, Operation

MOST_CONFIGURATIONS = 2_000_000

# The operations in the order of their effects, the latest first: (operation, state after it, the link before).
Link = tuple[Operation, Hashable, "Link"] | None


@dataclass(frozen=True, slots=True)
class Linearizable:
    """A sequential order exists: `order` is one, each operation with the state after it."""

    order: Sequence[tuple[Operation, Any]]


@dataclass(frozen=True, slots=True)
class Impossible:
    """No sequential order exists. `blocked` is the operation whose end no order reaches, `states` those tried there."""

    blocked: Operation
    states: Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Undecided:
    """The search gave up after so many configurations. Neither a proof nor a violation: callers must not ignore it."""

    configurations: int


Verdict = Linearizable | Impossible | Undecided


def check(model: Model, history: Iterable[Operation], *, most_configurations: int = MOST_CONFIGURATIONS) -> Verdict:
    """Return whether the operations of one key are linearizable under the model."""
    return _Search(model, [operation for operation in history if _matters(model, operation)]).run(most_configurations)


def _matters(model: Model, operation: Operation) -> bool:
    # A read whose answer was lost says nothing.
    return not (operation.unknown and model.reads(operation))


class _Search:
    """A history laid out for the search; operations are named by their place in it."""

    def __init__(self, model: Model, history: Sequence[Operation]) -> None:
        self._model = model
        self._history = sorted(history, key=lambda operation: (operation.start, operation.end))
        self._reads = [model.reads(operation) for operation in self._history]
        self._ends, self._under_way = self._laid_out()
        self._tried: list[list[Hashable]] = [[] for _ in self._ends]

    def _laid_out(self) -> tuple[list[int], list[list[int]]]:
        """Return the operations by their ends, and for each end those that had begun and were not over."""
        ends = sorted((at for at, each in enumerate(self._history) if not each.unknown), key=self._end_of)
        under_way: list[list[int]] = []
        begun, live = 0, []
        for number in ends:
            while begun < len(self._history) and self._history[begun].start <= self._history[number].end:
                live.append(begun)
                begun += 1
            under_way.append(live)
            live = [each for each in live if each != number]
        return ends, under_way

    def _end_of(self, number: int) -> tuple[float, int]:
        return self._history[number].end, number

    def run(self, most_configurations: int) -> Verdict:
        """Search depth first."""
        seen: set[tuple[int, Hashable, frozenset[int]]] = set()
        stack: list[tuple[int, Hashable, frozenset[int], Link]] = [(0, self._model.initial(), frozenset(), None)]
        while stack:
            at, state, done, order = self._followed(*stack.pop())
            if at == len(self._ends):
                return Linearizable(_unlinked(order))
            if (at, state, done) in seen:
                continue
            seen.add((at, state, done))
            if len(seen) > most_configurations:
                return Undecided(len(seen))
            self._tried[at].append(state)
            moves = list(self._moves(at, state, done))
            stack.extend(
                (at, after, done | {number}, (self._history[number], after, order)) for number, after in reversed(moves)
            )
        return self._impossible()

    def _followed(
        self, at: int, state: Hashable, done: frozenset[int], order: Link
    ) -> tuple[int, Hashable, frozenset[int], Link]:
        """Pass every end whose operation has taken effect, and every read that the state explains."""
        while at < len(self._ends):
            number = self._ends[at]
            if number in done:
                done -= {number}
            elif not (self._reads[number] and self._explains(state, number)):
                for each in self._under_way[at]:
                    if self._reads[each] and each not in done and self._explains(state, each):
                        done, order = done | {each}, (self._history[each], state, order)
                return at, state, done, order
            else:
                order = (self._history[number], state, order)
            at += 1
        return at, state, done, order

    def _explains(self, state: Hashable, number: int) -> bool:
        return any(True for _ in self._model.step(state, self._history[number]))

    def _moves(self, at: int, state: Hashable, done: frozenset[int]) -> Iterator[tuple[int, Hashable]]:
        """Yield what may take effect next, what is needed now first and the unknown last."""
        needed = self._ends[at]
        possible = [each for each in self._under_way[at] if each not in done and not self._reads[each]]
        possible.sort(key=lambda each: (each != needed, self._history[each].unknown, each))
        alike: set[Any] = set()
        for number in possible:
            operation = self._history[number]
            if operation.unknown:
                if operation.signature() in alike:
                    continue
                alike.add(operation.signature())
            for after in self._model.step(state, operation):
                if after != state or not operation.unknown:
                    yield number, after

    def _impossible(self) -> Impossible:
        last = max(at for at, states in enumerate(self._tried) if states)
        return Impossible(self._history[self._ends[last]], list(dict.fromkeys(self._tried[last])))


def _unlinked(order: Link) -> list[tuple[Operation, Any]]:
    found = []
    while order is not None:
        operation, state, order = order
        found.append((operation, state))
    return found[::-1]
