"""When a stream that broke is opened again: what both clients do alike."""

import logging
import random
from collections.abc import Callable

import grpc

from wingmanmatch_client.errors import WingmanMatchError

log = logging.getLogger("wingmanmatch_client")

# What says nothing against the same request at another moment or server. A server that stops cancels what it has not
# begun, one that restarts resets streams, and a proxy's own limits end as deadlines.
PASSING = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
SHORTEST_DELAY = 0.1  # seconds
LONGEST_DELAY = 30.0


class Resumption:
    """How long to wait before a stream is opened again: ever longer while nothing comes, and a little at random.

    With `patience` it gives up once nothing has come for so many seconds.
    """

    def __init__(
        self,
        patience: float | None,
        now: Callable[[], float],
        spread: Callable[[], float] = random.random,
    ) -> None:
        """`now` tells seconds that never go back, `spread` a number from 0 to 1."""
        self._patience = patience
        self._now = now
        self._spread = spread
        self._failures = 0
        self._heard = now()

    def heard(self) -> None:
        """Note that the stream brought something."""
        self._failures = 0
        self._heard = self._now()

    def delay(self, error: WingmanMatchError | None) -> float:
        """Return the seconds to wait after `error`, None for an end in good order. Raises an error that is for good."""
        if error is not None and (error.code not in PASSING or self._is_out_of_patience()):
            raise error
        most = min(SHORTEST_DELAY * 2.0**self._failures, LONGEST_DELAY)
        self._failures = min(self._failures + 1, 10)
        asked = (error.retry_after if error else None) or 0.0
        wait = max(asked, most * (0.5 + 0.5 * self._spread()))
        log.info("stream ended, opened again in %.1f s: %s", wait, error.code.name if error else "OK")
        return wait

    def _is_out_of_patience(self) -> bool:
        return self._patience is not None and self._now() - self._heard >= self._patience
