"""How long to wait before something that keeps ending is started again."""


class Backoff:
    """Seconds to wait: `first`, doubled each time up to `longest`, and `first` again after `calm` seconds of health."""

    def __init__(self, *, first: float = 0.5, longest: float = 30.0, calm: float = 60.0) -> None:
        self._first = first
        self._longest = longest
        self._calm = calm
        self._next = first

    def after(self, lived: float) -> float:
        """Return how long to wait now that it ended after `lived` seconds."""
        seconds = self._first if lived >= self._calm else self._next
        self._next = min(self._longest, seconds * 2)
        return seconds
