"""A bound on calls that are answered before they are charged, kept by this process alone."""

from collections.abc import Callable

from wingmanmatch_server import errors
from wingmanmatch_server.ratelimit.batch import Ask
from wingmanmatch_server.ratelimit.local_buckets import LocalBuckets
from wingmanmatch_server.ratelimit.policies import MICROSECONDS, make_limit

CALLS_AT_ONCE = 30
CALLS_PER_SECOND = 1.0
LIMIT = make_limit("unadmitted_calls", CALLS_AT_ONCE, CALLS_PER_SECOND)


class FloodBound:
    """A token bucket for each subject, which needs no Redis: CALLS_AT_ONCE, refilled at CALLS_PER_SECOND."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns monotonic seconds."""
        self._buckets = LocalBuckets(clock)

    def spend(self, subject: str) -> None:
        """Take one token. Raises errors.RateLimited, policy `unadmitted_calls`, if there is none."""
        (answer,) = self._buckets.ask([Ask(LIMIT.key_of(subject), LIMIT, 1)], all_or_nothing=False, peek=False)
        if not answer.allowed:
            raise errors.RateLimited(
                LIMIT.policy,
                subject,
                capacity=LIMIT.capacity,
                window=LIMIT.full / MICROSECONDS,
                remaining=answer.remaining,
                retry_after=answer.retry / MICROSECONDS,
            )
