"""Holds the answers about one token bucket against what any such bucket could have answered.

A bucket is no register: it fills as time passes, and when a call met it is not known to the microsecond. So no order is
looked for; every answer is held against the fewest and the most tokens that there can have been. With capacity C and
rate r, a bucket that started full holds at an instant t the least, over all earlier instants s, of C + r (t - s) less
what was spent from s to t. From that follow, for calls that Redis decided:

- *grants*: in no window does more pass than C + r x its length, counted over calls that lie wholly inside it;
- *remaining*: no more tokens are said to be left than certain spending allows, and no fewer than possible spending
  explains. A peek is held to the same, so one that charged would be seen;
- *denials*: a denied cost is one that the bucket may not have held.

A call whose outcome is unknown, or that was decided without Redis (`degraded`), may have spent, and counts only where
spending excuses an answer. What such calls were granted is not bounded here: an outage may admit one more share of the
capacity, as docs/rate-limits.md says.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import floor

from support.history.operations import Operation

CLOCKS_APART = 0.05  # seconds by which the callers' clock and Redis's may drift apart in a run
ROUNDING = 1e-9  # tokens


@dataclass(frozen=True, slots=True)
class Policy:
    """A bucket's size, and the tokens that flow in per second."""

    capacity: int
    rate: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check or a peek was told."""

    allowed: bool
    remaining: int
    degraded: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """An answer that no bucket of the policy could have given, and why."""

    operation: Operation
    rule: str

    def __str__(self) -> str:
        return f"{self.operation}\n         {self.rule}"


@dataclass(frozen=True, slots=True)
class _Spending:
    start: float
    end: float
    cost: int


def broken_answers(
    policy: Policy, history: Iterable[Operation], *, crashes: Sequence[Operation] = (), window: float = 0.0
) -> list[Broken]:
    """Return the answers about one bucket that are impossible, by their starts.

    What was spent in the `window` seconds before a crash may have been forgotten in it: it counts as possible only.
    """
    operations = sorted(history, key=lambda each: each.start)

    def forgettable(operation: Operation) -> bool:
        return any(each.start - window <= operation.end and operation.start <= each.end for each in crashes)

    certain = _spent(each for each in operations if _granted(each) and not forgettable(each))
    possible = _spent(each for each in operations if each.name == "check" and (each.unknown or _may_have_spent(each)))
    bucket = _Bucket(policy, certain, possible)
    return [Broken(each, rule) for each in operations if _decided(each) for rule in bucket.rules_broken_by(each)]


def _spent(operations: Iterable[Operation]) -> list[_Spending]:
    return [_Spending(each.start, each.end, _cost(each)) for each in operations]


def _cost(operation: Operation) -> int:
    cost = operation.arguments["cost"]
    assert isinstance(cost, int)
    return cost


def _decided(operation: Operation) -> bool:
    return operation.ok and not operation.result.degraded


def _granted(operation: Operation) -> bool:
    return operation.name == "check" and _decided(operation) and operation.result.allowed


def _may_have_spent(operation: Operation) -> bool:
    # A degraded decision may have been sent to Redis, and given up on before the answer came.
    return operation.ok and (operation.result.allowed or operation.result.degraded)


class _Bucket:
    """The fewest and the most tokens that a bucket can have held."""

    def __init__(self, policy: Policy, certain: Sequence[_Spending], possible: Sequence[_Spending]) -> None:
        self._policy = policy
        self._certain = sorted(certain, key=lambda each: each.start, reverse=True)
        self._possible = sorted(possible, key=lambda each: each.end, reverse=True)

    def rules_broken_by(self, operation: Operation) -> Iterable[str]:
        """Yield what is wrong with one answer."""
        cost, answer = _cost(operation), operation.result
        charged = cost if _granted(operation) else 0
        most, fewest = self.most(operation), self.fewest(operation)
        if charged and (excess := self.excess_until(operation)) > ROUNDING:
            yield f"until its end {excess:.3f} tokens more had passed than any bucket gives"
        elif answer.allowed and cost > most + ROUNDING:
            yield f"{cost} passed where there were at most {most:.3f} tokens"
        elif not answer.allowed and cost <= fewest:
            yield f"{cost} was denied where there were at least {fewest:.3f} tokens"
        elif answer.remaining > max(0, floor(most + ROUNDING) - charged):
            yield f"{answer.remaining} were left where at most {most - charged:.3f} can be"
        elif answer.remaining < floor(fewest + ROUNDING) - charged:
            yield f"{answer.remaining} were left where at least {fewest - charged:.3f} must be"

    def excess_until(self, operation: Operation) -> float:
        """Return by how much the windows that close with the operation's end exceed what a bucket gives."""
        return -self._lowest([each for each in self._certain if each.end <= operation.end], operation.end)

    def most(self, operation: Operation) -> float:
        """Return the most tokens that the operation can have met: only what was certainly spent before it is gone."""
        return self._lowest([each for each in self._certain if each.end < operation.start], operation.end)

    def fewest(self, operation: Operation) -> float:
        """Return the fewest tokens that it can have met: all that others may have spent by its end is gone."""
        others = [each for each in self._possible if each.start <= operation.end and not _is(each, operation)]
        spent = accumulate(each.cost for each in others)
        levels = (
            self._filled(max(0.0, operation.start - each.end - CLOCKS_APART)) - cost
            for each, cost in zip(others, spent, strict=True)
        )
        return min([*levels, float(self._policy.capacity)])

    def _lowest(self, spendings: Sequence[_Spending], instant: float) -> float:
        """Return the level at an instant if just these were spent, each as early as it can have been."""
        spent = accumulate(each.cost for each in spendings)
        levels = (
            self._filled(instant - each.start + CLOCKS_APART) - cost
            for each, cost in zip(spendings, spent, strict=True)
        )
        return min([*levels, float(self._policy.capacity)])

    def _filled(self, seconds: float) -> float:
        return self._policy.capacity + self._policy.rate * seconds


def _is(spending: _Spending, operation: Operation) -> bool:
    return (spending.start, spending.end) == (operation.start, operation.end)
