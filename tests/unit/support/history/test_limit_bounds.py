"""The bounds of a token bucket: they hold for a real one, and for none that forgets, gives or charges too much."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.history.limit_bounds import Answer, Policy, broken_answers
from support.history.losses import crash
from support.history.operations import NEVER, Operation, Outcome

POLICY = Policy(5, 0.5)


class Bucket:
    """A token bucket with its own clock, which may be told to misbehave."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.tokens = float(policy.capacity)
        self._seen = 0.0

    def ask(self, now: float, cost: int, *, spend: bool) -> Answer:
        """Answer a check or a peek at an instant no earlier than the one before."""
        self.tokens = min(self.policy.capacity, self.tokens + (now - self._seen) * self.policy.rate)
        self._seen = now
        allowed = self.tokens >= cost
        if allowed and spend:
            self.tokens -= cost
        return Answer(allowed, int(self.tokens + 1e-9), degraded=False)


def check(start: float, end: float, answer: Answer | None, cost: int = 1, name: str = "check") -> Operation:
    """Return a check or a peek; without an answer its outcome is unknown."""
    outcome = Outcome.OK if answer else Outcome.UNKNOWN
    return Operation(0, "x", name, start, end if answer else NEVER, outcome, {"cost": cost}, answer)


def overlapping(source: random.Random, bucket: Bucket, count: int) -> list[Operation]:
    """Return a history in which each call meets the bucket at some instant between its start and its end."""
    history, now = [], 0.0
    for _ in range(count):
        now += source.choice((0.0, 0.01, 0.5, 3.0)) * source.random()
        cost, name = source.randint(1, 3), source.choice(("check", "check", "peek"))
        answer = bucket.ask(now, cost, spend=name == "check")
        history.append(check(now - source.random() / 10, now + source.random() / 10, answer, cost, name))
    return history


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 60), lost=st.integers(0, 5))
def test_a_real_bucket_breaks_nothing(seed: int, count: int, lost: int) -> None:
    """Whatever a bucket answers is possible, however calls overlap and whichever answers are lost."""
    source = random.Random(seed)
    history = overlapping(source, Bucket(POLICY), count)
    for at in source.sample(range(count), min(lost, count)):
        history[at] = replace(history[at], outcome=Outcome.UNKNOWN, end=NEVER, result=None)
    assert broken_answers(POLICY, history) == []


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_bucket_that_forgets_is_found_out(seed: int) -> None:
    """A bucket that is full again at once, having been emptied, gives itself away."""
    source, bucket = random.Random(seed), Bucket(POLICY)
    history = overlapping(source, bucket, 20)
    now = max(each.end for each in history) + 1
    history += emptied(bucket, now)
    bucket.tokens = 5.0
    history += emptied(bucket, now + 1)
    assert broken_answers(POLICY, history)


def emptied(bucket: Bucket, now: float) -> list[Operation]:
    """Return six checks in a row, of which the last is denied."""
    return [check(now + n / 100, now + n / 100 + 0.005, bucket.ask(now + n / 100, 1, spend=True)) for n in range(6)]


ALLOWED, DENIED = Answer(allowed=True, remaining=4, degraded=False), Answer(allowed=False, remaining=0, degraded=False)


def grants(count: int) -> list[Operation]:
    """Return grants that are all under way at once, none of which says what is left."""
    return [check(0.0, 1.0 + n / 10, replace(ALLOWED, remaining=0)) for n in range(count)]


BROKEN: dict[str, tuple[Sequence[Operation], str]] = {
    "too many one after the other": (emptied(Bucket(Policy(6, 0)), 0), "passed"),
    "too many at once": (grants(8), "had passed than any bucket gives"),
    "denied while full": ([check(0, 1, DENIED)], "denied"),
    "more left than can be": ([check(0, 1, replace(ALLOWED, remaining=5))], "at most"),
    "fewer left than must be": ([check(0, 1, replace(ALLOWED, remaining=3))], "at least"),
    "a peek that charged": (
        [
            check(0, 1, ALLOWED),
            check(2, 3, replace(ALLOWED, remaining=2), name="peek"),
            check(3.1, 3.2, ALLOWED, 1, "peek"),
        ],
        "at least",
    ),
}


@pytest.mark.parametrize(("history", "rule"), BROKEN.values(), ids=BROKEN)
def test_broken(history: Sequence[Operation], rule: str) -> None:
    """An impossible answer is named, with the rule that it breaks."""
    assert any(rule in broken.rule for broken in broken_answers(POLICY, history))


def test_as_many_at_once_as_flow_in() -> None:
    """What a bucket can give is no violation, to the token."""
    assert broken_answers(POLICY, grants(5)) == []


def test_lost_answers_excuse_a_denial() -> None:
    """A denial is possible if spending of unknown outcome may have emptied the bucket."""
    lost = [check(0, 0, None, 3), check(0, 0, None, 2)]
    assert broken_answers(POLICY, [*lost, check(1, 2, DENIED)]) == []
    assert broken_answers(POLICY, [*lost, check(1, 2, replace(DENIED, remaining=1), cost=2)]) == []
    assert broken_answers(POLICY, [lost[0], check(1, 2, DENIED)]) != []


def test_degraded_answers_are_not_held_to_it() -> None:
    """What was decided without Redis is no answer about the bucket in Redis, but may have been charged to it."""
    degraded = [check(n, n + 0.1, replace(ALLOWED, degraded=True)) for n in range(9)]
    assert broken_answers(POLICY, [*degraded, check(9.2, 9.3, DENIED)]) == []


def test_crash_may_forget_the_latest_spending() -> None:
    """Spending shortly before a crash may be forgotten, earlier spending may not."""
    first, second = emptied(Bucket(POLICY), 10)[:5], emptied(Bucket(POLICY), 11.2)[:5]
    crashed = [crash("x", 11, 11.1)]
    assert broken_answers(POLICY, [*first, *second]) != []
    assert broken_answers(POLICY, [*first, *second], crashes=crashed, window=2) == []
    assert broken_answers(POLICY, [*first, *second], crashes=crashed, window=0.5) != []
