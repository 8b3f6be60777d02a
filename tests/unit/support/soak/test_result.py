"""What the soak makes of a fault: each way in which it can be worse than its bound is found out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from support.soak.fault import Check, Fault, Result, most
from support.soak.site import LIMIT, ended_between
from support.soak.watching import SERVICES, Health
from support.timeline import READ, WRITE, Ended, Timeline


async def _never(_site: Any) -> Any:
    raise AssertionError


FAULT = Fault("a-fault", "its bound", _never, recovery=2, may_fail=frozenset({WRITE}), changes=2)


def failed(kind: str = WRITE, code: str = "UNAVAILABLE") -> Ended:
    """Return a call that failed."""
    return Ended(kind, 0.0, 0.01, code, "DATABASE_UNAVAILABLE", says_when=True)


def result(
    during: Sequence[Ended] = (), recovered: float = 0.0, changes: int = 0, checks: Sequence[Check] = ()
) -> Result:
    """Return what became of the fault."""
    return Result(FAULT, 100, during, (), recovered, Counter({"database": changes}), 2, checks)


def test_within_its_bound() -> None:
    """Calls that may fail, a recovery in time and two changes of a breaker are as they must be."""
    good = result([failed(), failed(code="DEADLINE_EXCEEDED")], 2.0, 2, [Check("emails flow", holds=True)])
    assert good.missed == []
    assert "OK  [its bound]  emails flow" in good.row()


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (result([failed(READ)]), "failed read: {('UNAVAILABLE', 'DATABASE_UNAVAILABLE'): 1}"),
        (result([failed(code="INTERNAL")]), "ended INTERNAL"),
        (result([failed(code="UNKNOWN")]), "ended UNKNOWN"),
        (result([failed(code="UNAUTHENTICATED")]), "ended UNAUTHENTICATED"),
        (result(recovered=2.1), "last failure 2.1 s after"),
        (result(changes=3), "database changed 3 times"),
        (result(checks=[Check("emails 9.0 s after", holds=False)]), "emails 9.0 s after"),
    ],
)
def test_missed(bad: Result, text: str) -> None:
    """A call that may not fail, a status, a recovery, a breaker or a measure beyond the bound misses it."""
    assert bad.missed == [text]
    assert f"MISSED ({text})" in bad.row()


def test_changes_of_the_limiter_are_judged_where_redis_fails() -> None:
    """The limiter's breaker opens on a busy machine too: it counts where Redis fails, and nowhere else."""
    flapping = Counter(rate_limiter=9)
    of_redis = replace(FAULT, may_fail=frozenset({LIMIT}))
    assert Result(FAULT, 100, (), (), 0.0, flapping, 0, ()).missed == []
    assert Result(of_redis, 100, (), (), 0.0, flapping, 0, ()).missed == ["rate_limiter changed 9 times"]


def test_changes_of_the_server_that_changed_most() -> None:
    """Of several servers the most changes of each breaker count, since the fault began."""
    before = [Counter(database=2), Counter(redis=4)]
    now = [Counter(database=4, redis=1), Counter(database=1, redis=4)]
    assert most(now, before) == Counter(database=2, redis=1)


def test_flips_of_each_service_are_its_own() -> None:
    """What one service changed before a fault hides nothing that another changes during it."""
    health = Health()
    matching, session = health.seen.values()
    matching += [1, 2, 1, 2, 1]
    session += [1]
    before = [health.flips]
    session += [2, 1]
    assert most([health.flips], before) == Counter({SERVICES[1]: 2})


def test_calls_in_between() -> None:
    """Calls are found by when they ended; the end of a span is not in it."""
    calls = [Ended(READ, float(moment), 0.01, "OK", "", says_when=False) for moment in range(5)]
    assert ended_between(Timeline(calls), 1.0, 3.0) == calls[1:3]
    assert ended_between(Timeline(calls), 3.5, float("inf")) == calls[4:]
