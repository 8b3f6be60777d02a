"""Models of systems that forget: only in a crash, only the latest changes, and only as far back as is said."""

from collections.abc import Sequence

import pytest

from support.history.linearizability import Impossible, Linearizable, check
from support.history.losses import ForgetfulModel, count_lost, crash
from support.history.operations import Operation, Refusal
from support.history.session_model import Session, SessionModel
from support.history.writing import operation

WINDOW = 3.0


def update(start: float, end: float, version: int) -> Operation:
    """Return an acknowledged update to a version."""
    seen = Session("s1", version, f"v{version}", 9)
    return operation("update", start, end, seen, id="s1", value=f"v{version}")


def get(start: float, end: float, version: int) -> Operation:
    """Return a read of a version."""
    return operation("get", start, end, Session("s1", version, f"v{version}", 9), id="s1")


CREATED = operation("create", 0, 1, Session("s1", 1, "v1", 9), value="v1")
HISTORY = [CREATED, update(10, 11, 2), update(12, 13, 3), get(12.5, 13.5, 3)]
CRASH = crash("x", 14, 15)


def found(history: Sequence[Operation]) -> Linearizable | Impossible:
    """Return the verdict on a history with the one crash."""
    verdict = check(ForgetfulModel(SessionModel(), [CRASH], WINDOW), [*history, CRASH])
    assert isinstance(verdict, Linearizable | Impossible)
    return verdict


@pytest.mark.parametrize(("version", "lost"), [(3, 0), (2, 1), (1, 2)])
def test_latest_changes_may_be_lost(version: int, lost: int) -> None:
    """After a crash an earlier state may be seen, and how many acknowledged changes that costs is counted."""
    verdict = found([*HISTORY, get(16, 17, version)])
    assert isinstance(verdict, Linearizable)
    assert count_lost(verdict) == lost


def test_without_a_crash_nothing_may_be_lost() -> None:
    """What a crash excuses is a violation without one."""
    assert isinstance(check(ForgetfulModel(SessionModel(), [], WINDOW), [*HISTORY, get(16, 17, 2)]), Impossible)


def test_nothing_is_lost_before_the_crash() -> None:
    """The state falls back in the crash, not before it."""
    assert isinstance(found([*HISTORY, get(13.6, 13.9, 2)]), Impossible)


def test_old_changes_are_never_lost() -> None:
    """What was acknowledged longer before the crash than the window stays."""
    assert isinstance(found([*HISTORY, operation("get", 16, 17, Refusal("SESSION_NOT_FOUND"), id="s1")]), Impossible)
    early = [CREATED, update(2, 3, 2), update(12, 13, 3)]
    assert isinstance(found([*early, get(16, 17, 2)]), Linearizable)
    assert isinstance(found([*early, get(16, 17, 1)]), Impossible)


def test_what_is_lost_stays_lost() -> None:
    """A crash leads to one state: not to one for this reader and another for that."""
    assert isinstance(found([*HISTORY, get(16, 17, 2), get(18, 19, 3)]), Impossible)
    assert isinstance(found([*HISTORY, get(16, 17, 2), update(18, 19, 3), get(20, 21, 3)]), Linearizable)
