"""How long a broken stream waits, under a clock that the test holds."""

import grpc
import pytest

from wingmanmatch_client import InvalidArgument, Unavailable
from wingmanmatch_client.resuming import Resumption


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        """Return the present."""
        return self.seconds


def away(retry_after: float | None = None) -> Unavailable:
    """Return an error that passes."""
    return Unavailable(grpc.StatusCode.UNAVAILABLE, "away", retry_after=retry_after)


def test_waits_grow_to_a_bound() -> None:
    """Each wait is at most twice the one before, and none above half a minute."""
    resumption = Resumption(None, Clock(), lambda: 1.0)
    waits = [resumption.delay(away()) for _ in range(20)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == 30.0


def test_chance_shortens_waits_by_half_at_most() -> None:
    """Those who lost the same server do not return together."""
    assert Resumption(None, Clock(), lambda: 0.0).delay(away()) == 0.05


def test_message_begins_anew() -> None:
    """What came shows that the server is back."""
    resumption = Resumption(None, Clock(), lambda: 1.0)
    for _ in range(5):
        resumption.delay(away())
    resumption.heard()
    assert resumption.delay(None) == 0.1


def test_server_may_ask_for_more() -> None:
    """A server knows better when it is back."""
    assert Resumption(None, Clock(), lambda: 1.0).delay(away(12.0)) == 12.0


def test_error_that_does_not_pass_is_raised() -> None:
    """Waiting would not help."""
    error = InvalidArgument(grpc.StatusCode.INVALID_ARGUMENT, "wrong")
    with pytest.raises(InvalidArgument) as caught:
        Resumption(None, Clock()).delay(error)
    assert caught.value is error


def test_patience_is_counted_from_the_last_message() -> None:
    """Ten seconds of patience last ten seconds from whatever came last."""
    clock = Clock()
    resumption = Resumption(10.0, clock)
    clock.seconds += 8.0
    resumption.heard()
    clock.seconds += 9.0
    resumption.delay(away())
    clock.seconds += 1.0
    with pytest.raises(Unavailable):
        resumption.delay(away())
