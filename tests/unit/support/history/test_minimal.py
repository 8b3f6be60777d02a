"""Reducing impossible histories: what is left is impossible by itself, and nothing more can go."""

import random

import pytest

from support.history.linearizability import Impossible, check
from support.history.minimal import minimal
from support.history.operations import Operation
from support.history.session_model import Session, SessionModel
from support.history.writing import operation

MODEL = SessionModel()


def noise(source: random.Random, count: int) -> list[Operation]:
    """Return the good history of another session of the same user."""
    session, history = Session("s2", 1, "n1", 9), []
    history.append(operation("create", 0, 0.1, session, value="n1"))
    for number in range(count):
        start = number / 10 + source.random() / 20
        session = Session("s2", session.version + 1, f"n{number}", 9)
        history += [
            operation("update", start, start + 0.04, session, id="s2", value=f"n{number}"),
            operation("get", start + 0.045, start + 0.047, session, id="s2"),
        ]
    return history


LOST = [
    operation("create", 0, 0.1, Session("s1", 1, "a", 9), value="a"),
    operation("update", 1, 1.1, Session("s1", 2, "b", 9), id="s1", value="b"),
    operation("get", 2, 2.1, Session("s1", 1, "a", 9), id="s1"),
]


@pytest.mark.parametrize("count", [0, 5])
def test_only_the_contradiction_is_left(count: int) -> None:
    """Of a lost update among a hundred operations the update and the read that missed it remain."""
    history = [*LOST, *noise(random.Random(3), count)]
    assert minimal(MODEL, history) == LOST[1:]


def test_many_operations() -> None:
    """Of very many operations few are left, the contradiction among them, though not each is worth the search."""
    left = minimal(MODEL, [*LOST, *noise(random.Random(3), 40)])
    assert LOST[1] in left
    assert LOST[2] in left
    assert len(left) < 20


def test_what_is_left_is_impossible() -> None:
    """The remaining operations contradict one another even if everything else may have happened or not."""
    (update, read) = minimal(MODEL, LOST)
    assert isinstance(check(MODEL, [LOST[0], update, read]), Impossible)


def test_good_history_has_no_reduction() -> None:
    """There is nothing to reduce in a history that is linearizable."""
    with pytest.raises(TypeError, match="not known to be impossible"):
        minimal(MODEL, LOST[:2])
