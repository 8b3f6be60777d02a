"""The linearizability checker: on histories known to be good or bad, and against trying every order there is."""

import itertools
import random
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.history.linearizability import Impossible, Linearizable, Undecided, check
from support.history.operations import NEVER, Operation, Outcome, Refusal


class Register:
    """A number that can be read, written, and replaced if it is the one expected."""

    def initial(self) -> int:
        """Return zero."""
        return 0

    def reads(self, operation: Operation) -> bool:
        """Return whether the operation leaves the number as it is."""
        return operation.name == "read" or operation.outcome is Outcome.REFUSED

    def step(self, state: int, operation: Operation) -> Iterable[int]:
        """Return the number that follows."""
        if operation.name == "read":
            return [state] if operation.result == state else []
        if operation.name == "replace" and operation.arguments["old"] != state:
            return [state] if operation.refused_for("OTHER") else []
        return [] if operation.outcome is Outcome.REFUSED else [int(str(operation.arguments["new"]))]


def operation(name: str, start: float, end: float | None, result: Any = None, **arguments: Hashable) -> Operation:
    """Return an operation; without an end its outcome is unknown."""
    outcome = Outcome.UNKNOWN if end is None else Outcome.REFUSED if isinstance(result, Refusal) else Outcome.OK
    return Operation(0, "x", name, start, NEVER if end is None else end, outcome, arguments, result)


def write(start: float, end: float | None, new: int) -> Operation:
    """Return a write."""
    return operation("write", start, end, new=new)


def read(start: float, end: float, result: int) -> Operation:
    """Return a read."""
    return operation("read", start, end, result)


def replaced(start: float, end: float | None, old: int, new: int) -> Operation:
    """Return a replacement that succeeded, or whose outcome is unknown."""
    return operation("replace", start, end, old=old, new=new)


def not_replaced(start: float, end: float, old: int) -> Operation:
    """Return a replacement that was refused."""
    return operation("replace", start, end, Refusal("OTHER"), old=old, new=9)


GOOD = {
    "nothing": [],
    "one after the other": [write(0, 1, 1), read(2, 3, 1)],
    "a read beside a write sees the old": [write(0, 3, 1), read(1, 2, 0)],
    "a read beside a write sees the new": [write(0, 3, 1), read(1, 2, 1)],
    "a read that touches a write is beside it": [write(0, 1, 1), read(1, 2, 0)],
    "two writes at once, in either order": [write(0, 3, 1), write(0, 3, 2), read(4, 5, 1)],
    "an unknown write happened": [write(0, None, 1), read(5, 6, 1)],
    "an unknown write did not happen": [write(0, None, 1), read(5, 6, 0)],
    "an unknown write happens late": [write(0, None, 1), read(1, 2, 0), write(3, 4, 2), read(5, 6, 2), read(7, 8, 1)],
    "a refusal that the state explains": [write(0, 1, 1), not_replaced(2, 3, 0)],
    "a chain of three at once in the one order that works": [
        replaced(0, 9, 2, 3),
        replaced(0, 9, 1, 2),
        replaced(0, 9, 0, 1),
        read(10, 11, 3),
    ],
}
BAD = {
    "a read of what nobody wrote": [read(0, 1, 7)],
    "a stale read": [write(0, 1, 1), read(2, 3, 0)],
    "a lost update": [replaced(0, 1, 0, 1), replaced(2, 3, 0, 2)],
    "two replacements of one number": [replaced(0, 3, 0, 1), replaced(0, 3, 0, 2)],
    "new, then old": [write(0, 9, 1), read(1, 2, 1), read(3, 4, 0)],
    "two readers disagree on the order": [
        write(0, 1, 1),
        write(2, 9, 2),
        read(3, 4, 2),
        read(5, 6, 1),
    ],
    "an unknown write happens twice": [write(0, None, 1), read(1, 2, 1), write(3, 4, 2), read(5, 6, 2), read(7, 8, 1)],
    "an unknown write happens before it began": [read(0, 1, 1), write(2, None, 1)],
    "a refusal that nothing explains": [not_replaced(0, 1, 0)],
    "a refused replacement had its effect": [write(0, 1, 1), not_replaced(2, 3, 0), read(4, 5, 9)],
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    """A history that some order explains is linearizable, and that order is returned."""
    history = GOOD[name]
    verdict = check(Register(), history)
    assert isinstance(verdict, Linearizable)
    assert_explains(history, verdict)


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str) -> None:
    """A history that no order explains is impossible."""
    assert isinstance(check(Register(), BAD[name]), Impossible)


def test_blocked() -> None:
    """What is impossible is named, with the states in which it was met."""
    stale = read(2, 3, 0)
    verdict = check(Register(), [write(0, 1, 1), stale, read(4, 5, 1)])
    assert verdict == Impossible(stale, [1])


def test_undecided() -> None:
    """A search that would take too long says that it does not know."""
    source = random.Random(1)
    unknown = [write(source.random(), None, number) for number in range(30)]
    assert isinstance(check(Register(), [*unknown, read(2, 3, -1)], most_configurations=1000), Undecided)


def test_thousands_of_operations() -> None:
    """Eight callers' 6,000 operations on one key are checked without recursion, and one wrong read among them found."""
    history = overlapping(random.Random(5), 6_000, callers=8)
    assert isinstance(check(Register(), history), Linearizable)
    last = max(at for at, each in enumerate(history) if each.name == "read")
    history[last] = read(history[last].start, history[last].end, -1)
    verdict = check(Register(), history)
    assert isinstance(verdict, Impossible)
    assert verdict.blocked == history[last]


def test_unknown_outcomes_among_thousands() -> None:
    """Fifty unknown writes that may happen at any time do not keep a good history from being found good."""
    source = random.Random(6)
    history = overlapping(source, 3_000, callers=8)
    for at in source.sample([at for at, each in enumerate(history) if each.name == "write"], 50):
        history[at] = operation("write", history[at].start, None, **history[at].arguments)
    assert isinstance(check(Register(), history), Linearizable)


def overlapping(source: random.Random, count: int, callers: int, *, numbers: int = 1000) -> list[Operation]:
    """Return the history of operations that took effect one after the other, each somewhere between start and end."""
    model, state, history = Register(), 0, []
    free = [0.0] * callers
    for at in range(1, count + 1):
        caller = source.randrange(callers)
        start = max(free[caller], at - source.random() * callers)
        end = free[caller] = max(float(at), start) + source.random() * callers
        if start > at:  # the caller was busy at that instant
            continue
        kind = source.choice(("read", "write", "replace"))
        if kind == "read":
            history.append(read(start, end, state))
        elif kind == "write":
            history.append(write(start, end, source.randrange(numbers)))
        else:
            old = source.choice((state, source.randrange(numbers)))
            history.append(replaced(start, end, old, old + 1) if old == state else not_replaced(start, end, old))
        (state,) = model.step(state, history[-1])
        free[caller] = end
    return history


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 60), callers=st.integers(1, 6))
def test_sequential_histories_with_any_overlap(seed: int, count: int, callers: int) -> None:
    """Whatever took effect one after the other is accepted, however the calls around it overlap."""
    history = overlapping(random.Random(seed), count, callers, numbers=4)
    verdict = check(Register(), random.Random(seed).sample(history, len(history)))
    assert isinstance(verdict, Linearizable)
    assert_explains(history, verdict)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(4, 60), callers=st.integers(1, 6))
def test_unwritten_results_are_rejected(seed: int, count: int, callers: int) -> None:
    """A read changed to a number that nobody wrote is rejected."""
    source = random.Random(seed)
    history = overlapping(source, count, callers, numbers=4)
    reads = [at for at, each in enumerate(history) if each.name == "read"]
    if reads:
        at = source.choice(reads)
        history[at] = read(history[at].start, history[at].end, 77)
        assert isinstance(check(Register(), history), Impossible)


times = st.integers(0, 9)
numbers = st.integers(0, 2)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """Draw an operation of any outcome, good or bad."""
    start = draw(times)
    end = draw(st.one_of(st.none(), st.integers(start, 10)))
    kind = draw(st.sampled_from(("read", "write", "replace")))
    if kind == "read":
        return operation("read", start, end, None if end is None else draw(numbers))
    if kind == "write":
        return write(start, end, draw(numbers))
    if end is not None and draw(st.booleans()):
        return not_replaced(start, end, draw(numbers))
    return replaced(start, end, draw(numbers), draw(numbers))


@settings(max_examples=1000, deadline=None)
@given(history=st.lists(operations(), max_size=5))
def test_agrees_with_trying_every_order(history: list[Operation]) -> None:
    """The verdict on a small history is the one of trying every permutation, with and without the unknown."""
    verdict = check(Register(), history)
    assert isinstance(verdict, Linearizable) == explained_by_some_order(history)
    if isinstance(verdict, Linearizable):
        assert_explains(history, verdict)


def explained_by_some_order(history: Sequence[Operation]) -> bool:
    """Return whether a permutation of what certainly happened and some of the unknown explains all answers."""
    certain = [each for each in history if not each.unknown]
    unknown = [each for each in history if each.unknown]
    chosen = itertools.chain.from_iterable(itertools.combinations(unknown, count) for count in range(len(unknown) + 1))
    orders = itertools.chain.from_iterable(itertools.permutations([*certain, *some]) for some in chosen)
    return any(in_real_time(order) and explained(order) for order in orders)


def in_real_time(order: Sequence[Operation]) -> bool:
    """Return whether nothing comes before what had ended when it began."""
    return not any(later.end < earlier.start for earlier, later in itertools.combinations(order, 2))


def explained(order: Sequence[Operation]) -> bool:
    """Return whether the operations, done in this order, give their answers."""
    state = 0
    for each in order:
        after = list(Register().step(state, each)) if not (each.unknown and each.name == "read") else [state]
        if not after and not each.unknown:
            return False
        state = after[0] if after else state
    return True


def assert_explains(history: Sequence[Operation], verdict: Linearizable) -> None:
    """Check that the order holds every certain operation once, in real time, and gives every answer."""
    order = [each for each, _ in verdict.order]
    assert len({id(each) for each in order}) == len(order)
    certain = [each for each in history if not each.unknown]
    assert sorted(map(id, certain)) == sorted(id(each) for each in order if not each.unknown)
    assert in_real_time(order)
    assert explained(order)
