"""How long a supervisor waits before it starts a worker again."""

from wingmanmatch_server.workers.backoff import Backoff


def test_doubles_up_to_a_limit() -> None:
    """A worker that ends again and again is started less and less often."""
    backoff = Backoff(first=1.0, longest=5.0, calm=60.0)
    assert [backoff.after(0.1) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_calm_begins_anew() -> None:
    """A worker that lived long is started again soon."""
    backoff = Backoff(first=1.0, longest=8.0, calm=60.0)
    assert [backoff.after(lived) for lived in (0, 0, 60, 0)] == [1, 2, 1, 2]
