"""Retries under a clock, waits and chances that the tests hold."""

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wingmanmatch_server import errors
from wingmanmatch_server.resilience.breaker import Breaker, Limits, State
from wingmanmatch_server.resilience.deadline import set_deadline
from wingmanmatch_server.resilience.retry import Retry, RetryBudget, RetryLimits

AWAY = errors.Unavailable("DATABASE_UNAVAILABLE", "away")


class Lab:
    """A dependency that gives `outcomes` one after the other, the last for ever, behind a breaker, and its retries."""

    def __init__(self, *outcomes: object, chance: float = 0.5, threshold: int = 10**9, attempts: int = 3) -> None:
        self.outcomes = list(outcomes)
        self.attempts = 0
        self.now = 100.0
        self.waits: list[float] = []
        self.retried: list[str] = []
        self.breaker = Breaker("database", Limits(threshold, 60.0), lambda: self.now)
        self.retry = Retry(
            RetryLimits(attempts, base=1.0),
            self.breaker,
            lambda: self.now,
            lambda: chance,
            sleep=self._sleep,
            on_retry=self.retried.append,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def _attempt(self) -> Any:
        with self.breaker.guard():
            self.attempts += 1
            outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

    def call(self, *, repeatable: bool = True, seconds_left: float | None = None) -> Any:
        """Make one call and return its outcome, an error included."""

        async def made() -> Any:
            if seconds_left is not None:
                set_deadline(self.now + seconds_left)
            try:
                return await self.retry.call(self._attempt, repeatable=repeatable)
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                return error

        return copy_context().run(_finish, made())


def _finish(work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of work that never waits, without an event loop."""
    with pytest.raises(StopIteration) as end:
        work.send(None)
    return end.value.value


def test_answer_of_a_later_attempt() -> None:
    """Two failures are got over, after waits of half of 1 s and half of 2 s where chance says half."""
    lab = Lab(AWAY, AWAY, "answer")
    assert lab.call() == "answer"
    assert (lab.attempts, lab.waits, lab.retried) == (3, [0.5, 1.0], ["database"] * 2)


def test_last_error_is_raised() -> None:
    """After the last attempt the caller gets its error, and nothing of the machinery."""
    last = errors.Unavailable("DATABASE_UNAVAILABLE", "still away")
    lab = Lab(AWAY, AWAY, last)
    assert lab.call() is last
    assert lab.attempts == 3


def test_what_must_not_be_repeated_is_not() -> None:
    """A call whose first attempt may have had its effect is made once."""
    lab = Lab(AWAY)
    assert lab.call(repeatable=False) is AWAY
    assert (lab.attempts, lab.waits) == (1, [])


@pytest.mark.parametrize(
    "answer",
    [
        errors.NotFound("MATCH_NOT_FOUND", "none"),
        errors.Aborted("CONFLICT", "again"),
        errors.ResourceExhausted("DATABASE_UNAVAILABLE", "too many calls", retry_after=1.0),
        ValueError("a defect"),
        asyncio.CancelledError(),
    ],
)
def test_answers_are_final(answer: BaseException) -> None:
    """An error that is an answer, a defect, a 429 or a cancellation leads to no other attempt, first or second."""
    assert (Lab(answer).call(), (lab := Lab(AWAY, answer)).call()) == (answer, answer)
    assert lab.attempts == 2


def test_none_past_the_deadline() -> None:
    """A wait that would outlast the caller is not begun."""
    lab = Lab(AWAY)
    assert lab.call(seconds_left=0.5) is AWAY
    assert (lab.attempts, lab.waits) == (1, [])
    assert lab.call(seconds_left=0.6) is AWAY
    assert (lab.attempts, lab.waits) == (3, [0.5])


def test_none_while_the_breaker_is_open() -> None:
    """The failure that opens the breaker ends the call; while it is open nothing is tried or waited for."""
    lab = Lab(AWAY, threshold=2)
    assert lab.call() is AWAY
    assert (lab.attempts, lab.breaker.state) == (2, State.OPEN)
    refused = lab.call()
    assert isinstance(refused, errors.Unavailable)
    assert refused.reason == "CIRCUIT_OPEN"
    assert (lab.attempts, len(lab.waits)) == (2, 1)


async def test_cancellation_ends_the_wait() -> None:
    """A caller that leaves during a wait is let go at once, and no further attempt is made."""
    waiting = asyncio.Event()
    attempts = 0

    async def attempt() -> None:
        nonlocal attempts
        attempts += 1
        raise AWAY

    async def sleep(_seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    breaker = Breaker("database", Limits(5, 60.0), lambda: 0.0)
    retry = Retry(RetryLimits(3, 1.0), breaker, lambda: 0.0, lambda: 0.5, sleep=sleep)
    task = asyncio.create_task(retry.call(attempt, repeatable=True))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attempts == 1


def test_total_outage_is_no_storm() -> None:
    """While nothing answers, the dependency sees at most 1.1 times the calls once the reserve is spent."""
    lab = Lab(AWAY)
    reserve = RetryBudget.RESERVE // RetryBudget.RETRY
    for _ in range(1000):
        lab.call()
    assert 1000 < lab.attempts <= 1000 * 1.1 + reserve
    before = lab.attempts
    for _ in range(1000):
        lab.call()
    assert lab.attempts - before <= 1100


def test_long_peace_saves_no_more_than_ten_retries() -> None:
    """However long all was well, an outage begins with few retries."""
    lab = Lab("answer")
    for _ in range(10_000):
        lab.retry._budget.deposit()
    lab.outcomes = [AWAY]
    for _ in range(5):
        lab.call()
    assert lab.attempts - 5 == 10


@given(st.lists(st.booleans(), max_size=400))
def test_budget(steps: list[bool]) -> None:
    """In whatever order calls and retries come, retries never exceed the reserve and a tenth of the calls."""
    budget, calls, retries = RetryBudget(), 0, 0
    for is_call in steps:
        if is_call:
            budget.deposit()
            calls += 1
        else:
            retries += budget.withdraw()
        assert retries * 10 <= RetryBudget.RESERVE + calls


@given(
    chance=st.floats(0, 1, exclude_max=True),
    seconds_left=st.floats(0, 10),
    failures=st.integers(0, 5),
    attempts=st.integers(1, 4),
)
def test_waits(chance: float, seconds_left: float, failures: int, attempts: int) -> None:
    """Each wait is within its doubling limit, no attempt begins after the deadline, and none is one too many."""
    lab = Lab(*[AWAY] * failures, "answer", chance=chance, attempts=attempts)
    start = lab.now
    outcome = lab.call(seconds_left=seconds_left)
    assert all(0 <= wait <= 2**place for place, wait in enumerate(lab.waits))
    assert lab.now <= start + seconds_left
    assert lab.attempts <= attempts
    assert (outcome == "answer") == (lab.attempts == failures + 1)
