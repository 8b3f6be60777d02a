"""The circuit breaker under a clock that the tests hold."""

import asyncio
import math
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wingmanmatch_server import errors
from wingmanmatch_server.errors import Evidence
from wingmanmatch_server.resilience.breaker import Breaker, Limits, State
from wingmanmatch_server.resilience.deadline import set_deadline

AWAY = errors.Unavailable("DATABASE_UNAVAILABLE", "away")
READ_ONLY = errors.Unavailable("REDIS_UNAVAILABLE", "read-only", evidence=Evidence.REFUSES_WRITES)
OUT_OF_CONNECTIONS = errors.Unavailable("REDIS_UNAVAILABLE", "no connection is free", evidence=Evidence.NONE)


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def make(threshold: int = 3, changes: list[Any] | None = None) -> tuple[Breaker, Clock]:
    """Return a breaker of 30 s recovery and 10 s probe lease."""
    clock = Clock()
    note = (lambda _name, state: changes.append(state)) if changes is not None else (lambda _name, _state: None)
    return Breaker("redis", Limits(threshold, 30.0, 10.0), clock, note), clock


def call(breaker: Breaker, outcome: BaseException | None = None) -> bool:
    """Make one call with an outcome; return whether it reached the dependency."""
    try:
        with breaker.guard():
            if outcome:
                raise outcome
    except errors.Unavailable as error:
        return error.reason != "CIRCUIT_OPEN"
    except BaseException as error:
        if error is not outcome:
            raise
    return True


def opened(threshold: int = 3) -> tuple[Breaker, Clock]:
    """Return a breaker that has just opened."""
    breaker, clock = make(threshold)
    for _ in range(threshold):
        assert call(breaker, AWAY)
    assert breaker.state is State.OPEN
    return breaker, clock


@pytest.mark.parametrize("failure", [AWAY, TimeoutError()])
def test_failures_in_a_row_open_it(failure: Exception) -> None:
    """The last of the failures opens it, and then calls are refused with the time that is left."""
    breaker, clock = make(3)
    assert [call(breaker, failure) for _ in range(3)] == [True] * 3
    clock.now += 10
    assert not call(breaker)
    assert breaker.open_for() == 20
    refusal = breaker.refusal()
    assert (refusal.reason, refusal.metadata, refusal.retry_after) == ("CIRCUIT_OPEN", {"dependency": "redis"}, 20)


def test_an_answer_in_between_starts_the_count_again() -> None:
    """Only failures in a row count, and an error that the dependency answered with is an answer."""
    breaker, _ = make(3)
    for outcome in (AWAY, AWAY, errors.NotFound("X", "x"), AWAY, AWAY, ValueError(), AWAY, AWAY):
        call(breaker, outcome)
    assert (breaker.state, breaker.failure_count) == (State.CLOSED, 2)


def test_cancelled_calls_count_as_nothing() -> None:
    """A caller who gives up neither opens the breaker nor forgives a failure."""
    breaker, _ = make(3)
    for outcome in (AWAY, AWAY, *[asyncio.CancelledError()] * 5):
        call(breaker, outcome)
    assert (breaker.state, breaker.failure_count) == (State.CLOSED, 2)


async def test_of_a_hundred_calls_at_half_open_one_passes() -> None:
    """While the probe is under way nobody else reaches the dependency; its success lets everybody in."""
    breaker, clock = opened()
    clock.now += 30
    answer, reached = asyncio.Event(), 0

    async def probe() -> bool:
        nonlocal reached
        try:
            with breaker.guard():
                reached += 1
                await answer.wait()
        except errors.Unavailable:
            return False
        return True

    callers = [asyncio.create_task(probe()) for _ in range(100)]
    await asyncio.sleep(0)
    answer.set()
    passed = await asyncio.gather(*callers)
    assert (reached, passed.count(True)) == (1, 1)
    assert breaker.state is State.CLOSED


def test_failed_probe_opens_it_again_at_once() -> None:
    """One failure at half-open is enough for another full recovery time."""
    breaker, clock = opened()
    clock.now += 30
    assert breaker.state is State.HALF_OPEN
    assert call(breaker, AWAY)
    assert breaker.open_for() == 30


def test_cancelled_probe_frees_its_place() -> None:
    """The next call after a cancelled probe is the probe."""
    breaker, clock = opened()
    clock.now += 30
    assert call(breaker, asyncio.CancelledError())
    assert call(breaker)
    assert breaker.state is State.CLOSED


def test_hung_probe_loses_its_place_to_the_lease() -> None:
    """A probe that never ends keeps others out for its lease only, and what it finds afterwards is not believed."""
    breaker, clock = opened()
    clock.now += 30
    hung = breaker.guard()
    hung.__enter__()
    clock.now += 9
    assert not call(breaker)
    clock.now += 1
    assert call(breaker)
    hung.__exit__(TimeoutError, TimeoutError(), None)
    assert breaker.state is State.CLOSED


def test_late_result_of_an_earlier_state_is_dropped() -> None:
    """A call begun before the breaker opened cannot close it."""
    breaker, _ = make(1)
    slow = breaker.guard()
    slow.__enter__()
    call(breaker, AWAY)
    slow.__exit__(None, None, None)
    assert breaker.state is State.OPEN


def test_asking_takes_no_probe() -> None:
    """Whether a call may pass can be asked without passing."""
    breaker, clock = opened()
    clock.now += 30
    assert [breaker.open_for() for _ in range(5)] == [0.0] * 5
    assert call(breaker)


def test_changes_are_told_once() -> None:
    """Each change of state is told as it happens, and a reset closes."""
    changes: list[State] = []
    breaker, clock = make(1, changes)
    call(breaker, AWAY)
    clock.now += 30
    call(breaker, AWAY)
    breaker.reset()
    assert changes == [State.OPEN, State.HALF_OPEN, State.OPEN, State.CLOSED]
    assert breaker.failure_count == 0


OUTCOMES = st.sampled_from(["answer", "away", "cancelled", "wait"])


@given(st.lists(OUTCOMES, max_size=60), st.integers(1, 5))
def test_it_follows_the_model(steps: list[str], threshold: int) -> None:
    """Against a plain restatement of the rules, any sequence of calls one after the other reaches the same ends."""
    breaker, clock = make(threshold)
    failures, open_until = 0, None
    for step in steps:
        if step == "wait":
            clock.now += 15
            continue
        may_pass = open_until is None or clock.now >= open_until
        outcome = {"answer": None, "away": AWAY, "cancelled": asyncio.CancelledError()}[step]
        assert call(breaker, outcome) is may_pass
        if may_pass and step == "answer":
            failures, open_until = 0, None
        elif may_pass and step == "away":
            failures += 1
            if open_until is not None or failures >= threshold:
                open_until = clock.now + 30
    assert (breaker.state is State.CLOSED) is (open_until is None)


def gave_up(breaker: Breaker, clock: Clock, *, left: float) -> None:
    """Make one call that its caller cancels with so much of its deadline left."""

    def wait() -> None:
        set_deadline(clock.now + left)
        with breaker.guard():
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        copy_context().run(wait)


def probed(threshold: int = 3, *, confirmed: bool = False, changes: list[Any] | None = None) -> tuple[Breaker, Clock]:
    """Return a breaker that has a prober, which the test plays by `settle`."""
    breaker, clock = make(threshold, changes)
    breaker.limits = Limits(threshold, 30.0, 10.0, confirmed=confirmed)
    breaker.has_prober = True
    return breaker, clock


@pytest.mark.parametrize("left", [0.0, 0.05, 5.0, math.inf])
def test_deadlines_count_for_nothing_without_a_prober(left: float) -> None:
    """However many callers give up, at their deadlines or before them, the breaker stays closed."""
    breaker, clock = make(2)
    for _ in range(10):
        gave_up(breaker, clock, left=left)
    assert (breaker.state, breaker.failure_count) == (State.CLOSED, 0)


@pytest.mark.parametrize(("available", "state"), [(True, State.CLOSED), (False, State.OPEN)])
def test_deadlines_in_a_row_are_a_question_that_the_probe_answers(available: bool, state: State) -> None:  # noqa: FBT001
    """As many calls as the threshold that end by their deadlines put the dependency in question, and no more."""
    breaker, clock = probed(3)
    for _ in range(2):
        gave_up(breaker, clock, left=0.0)
    assert not breaker.in_question.is_set()
    gave_up(breaker, clock, left=0.0)
    assert (breaker.in_question.is_set(), breaker.state) == (True, State.CLOSED)
    assert call(breaker)
    breaker.settle(available=available)
    assert breaker.state is state


def test_callers_who_leave_before_their_deadlines_are_no_question() -> None:
    """A caller who takes a call back says nothing about the dependency."""
    breaker, clock = probed(2)
    for _ in range(10):
        gave_up(breaker, clock, left=0.2)
    assert not breaker.in_question.is_set()


def test_an_answer_in_between_ends_the_suspicion() -> None:
    """Impatient callers beside patient ones who get answers are not even a question."""
    breaker, clock = probed(3)
    for _ in range(10):
        gave_up(breaker, clock, left=0.0)
        gave_up(breaker, clock, left=0.0)
        assert call(breaker)
    assert not breaker.in_question.is_set()


def test_refused_writes_are_not_forgiven_by_reads() -> None:
    """A dependency that answers reads and refuses writes opens the breaker once, whatever is read in between."""
    changes: list[State] = []
    breaker, _ = probed(3, changes=changes)
    for _ in range(3):
        assert call(breaker, READ_ONLY)
        call(breaker)
    assert changes == [State.OPEN]


def test_refused_write_is_a_question_at_once() -> None:
    """The first error that says that writes are refused asks the probe, whose success forgives it."""
    breaker, _ = probed(3)
    call(breaker, READ_ONLY)
    assert breaker.in_question.is_set()
    breaker.settle(available=True)
    assert (breaker.in_question.is_set(), breaker.failure_count) == (False, 0)


def test_failure_without_evidence_counts_for_nothing() -> None:
    """A call that failed for want of a connection of our own neither counts nor forgives."""
    breaker, _ = make(3)
    for outcome in (AWAY, AWAY, *[OUT_OF_CONNECTIONS] * 5):
        call(breaker, outcome)
    assert (breaker.state, breaker.failure_count) == (State.CLOSED, 2)


def test_probe_closes_it_long_before_its_time() -> None:
    """A probe that succeeds lets everybody in; callers are asked to come back in a second, not in thirty."""
    changes: list[State] = []
    breaker, clock = probed(3, changes=changes)
    for _ in range(3):
        call(breaker, AWAY)
    assert breaker.refusal().retry_after == 1
    clock.now += 2
    breaker.settle(available=True)
    assert call(breaker)
    assert changes == [State.OPEN, State.CLOSED]
    assert not breaker.in_question.is_set()


def test_probes_that_fail_keep_it_open_without_a_change() -> None:
    """An outage of hours is two changes: it is never half-open while probes find the dependency unavailable."""
    changes: list[State] = []
    breaker, clock = probed(3, changes=changes)
    for _ in range(3):
        call(breaker, AWAY)
    for _ in range(7200):
        clock.now += 1
        breaker.settle(available=False)
        assert not call(breaker)
    breaker.settle(available=True)
    assert changes == [State.OPEN, State.CLOSED]


def test_without_probes_one_call_tries_after_the_recovery_time() -> None:
    """Where the prober itself hangs, the breaker is half-open after the recovery time like any other."""
    breaker, clock = probed(3)
    for _ in range(3):
        call(breaker, AWAY)
    clock.now += 30
    assert breaker.state is State.HALF_OPEN
    assert call(breaker)
    assert breaker.state is State.CLOSED


def test_verdict_on_nothing_in_question_is_dropped() -> None:
    """A probe that ends after a reset does not open the breaker again."""
    breaker, _ = probed(1)
    call(breaker, AWAY)
    breaker.reset()
    breaker.settle(available=False)
    assert breaker.state is State.CLOSED


def test_confirmed_breaker_opens_only_with_its_probe() -> None:
    """Calls that fail because of one node of several are a question, and open nothing by themselves."""
    breaker, _ = probed(3, confirmed=True)
    for _ in range(10):
        call(breaker, AWAY)
    assert (breaker.state, breaker.in_question.is_set()) == (State.CLOSED, True)
    breaker.settle(available=False)
    assert breaker.state is State.OPEN
