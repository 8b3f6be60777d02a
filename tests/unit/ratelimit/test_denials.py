"""What is remembered of denials, under a clock that the tests hold."""

import pytest

from wingmanmatch_server.ratelimit.batch import Answer, Ask
from wingmanmatch_server.ratelimit.denials import LONGEST, Denials
from wingmanmatch_server.ratelimit.policies import make_limit

LIMIT = make_limit("test", 10, 1.0)
EMPTY = Answer(0, 0, 1_000_000, 10_000_000)


class Clock:
    """A clock that moves when it is told to."""

    now = 50.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at 50 s."""
    return Clock()


@pytest.fixture
def denials(clock: Clock) -> Denials:
    """An empty memory of three that hears of tokens put back."""
    denials = Denials(clock, size=3)
    denials._hearing = True
    return denials


def ask(name: str = "a", cost: int = 1) -> Ask:
    """Return what to ask of a bucket."""
    return Ask(name, LIMIT, cost)


def test_a_denial_ends_at_the_next_token(clock: Clock, denials: Denials) -> None:
    """It holds to the last microsecond and counts down, for larger costs too; then anybody may have taken the token."""
    denials.note(ask(), EMPTY, 50.0, denials.epoch)
    assert denials.known(ask()) == EMPTY
    clock.now = 50.9999
    assert (known := denials.known(ask())) is not None
    assert known.retry in (100, 101)
    assert (larger := denials.known(ask(cost=3))) is not None
    assert 2_000_100 <= larger.retry <= 2_000_101
    clock.now = 51.00001
    assert denials.known(ask(cost=3)) is None
    assert denials.know_none_of(["a"])


def test_a_denial_that_leaves_tokens_is_not_kept(denials: Denials) -> None:
    """Others may take them at any time, and then the wait is longer."""
    denials.note(ask(cost=5), Answer(0, 1, 4_000_000, 9_000_000), 50.0, denials.epoch)
    assert denials.known(ask(cost=5)) is None


def test_a_denial_is_kept_for_seconds_at_most(clock: Clock, denials: Denials) -> None:
    """However long the wait is: of a bucket that somebody deletes in Redis nobody hears."""
    slow = make_limit("test", 10, 0.001)
    denials.note(Ask("a", slow, 1), Answer(0, 0, 10**9, 10**10), 50.0, denials.epoch)
    clock.now = 50.0 + LONGEST - 0.001
    assert denials.known(Ask("a", slow, 1)) is not None
    clock.now = 50.0 + LONGEST
    assert denials.known(Ask("a", slow, 1)) is None


def test_what_can_never_pass_is_not_answered_from_memory(denials: Denials) -> None:
    """A cost above the capacity has no wait that could be named."""
    denials.note(ask(), EMPTY, 50.0, denials.epoch)
    assert denials.known(ask(cost=11)) is None


def test_a_denial_counts_from_before_it_was_asked(denials: Denials) -> None:
    """The time a reply took is never added to the wait."""
    denials.note(ask(), EMPTY, 49.5, denials.epoch)
    assert (known := denials.known(ask())) is not None
    assert known.retry == 500_000


def test_a_denial_asked_for_before_something_was_forgotten_is_not_kept(denials: Denials) -> None:
    """Its reply may have been on the way while tokens were put back."""
    epoch = denials.epoch
    denials.forget("other")
    denials.note(ask(), EMPTY, 50.0, epoch)
    assert denials.known(ask()) is None


def test_nothing_is_kept_unheard(denials: Denials) -> None:
    """Without a subscription a denial might outlast a refund."""
    denials._hearing = False
    denials.note(ask(), EMPTY, 50.0, denials.epoch)
    assert denials.known(ask()) is None


def test_a_changed_limit_is_asked_again(denials: Denials) -> None:
    """A larger capacity lets the next call through, and another rate has to be counted by Redis."""
    denials.note(ask(), EMPTY, 50.0, denials.epoch)
    assert denials.known(ask()._replace(limit=make_limit("test", 20, 1.0))) is None
    assert denials.known(ask()._replace(limit=make_limit("test", 10, 2.0))) is None


def test_the_memory_is_bounded(denials: Denials) -> None:
    """The oldest denial makes room for a new one."""
    for name in "abcd":
        denials.note(ask(name), EMPTY, 50.0, denials.epoch)
    assert [name for name in "abcd" if denials.known(ask(name))] == ["b", "c", "d"]
