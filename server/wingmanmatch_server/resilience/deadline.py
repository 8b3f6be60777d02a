"""Until when the caller of the work at hand waits, known to all that is done for it."""

import math
from contextvars import ContextVar

# In seconds of time.monotonic; infinity where nobody waits, as in background work.
_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


def set_deadline(moment: float) -> None:
    """Let the current task, and the tasks that it starts from now on, work until `moment`."""
    _deadline.set(moment)


def seconds_left(now: float) -> float:
    """Return how long the caller still waits; infinity where nobody does, negative if it has given up."""
    return _deadline.get() - now
