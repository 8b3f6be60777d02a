"""Tries again what a dependency did not answer, where that is safe, in time, and no burden to a dependency in trouble.

tenacity repeats; what is ours is when to give up. It is asked only once a first attempt has failed: around every call
it would cost more than some calls do.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from wingmanmatch_server import errors
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.resilience.deadline import seconds_left

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """At most `attempts` in all; before the second a random wait of up to `base` seconds, doubled before each next."""

    attempts: int
    base: float


class RetryBudget:
    """Keeps retries a small part of all calls, so that an outage is not met by a multiple of the load.

    Every call pays in a tenth of a retry, up to ten of them; `RESERVE` is there at the start, for a server that has
    had few calls yet. Counted in tenths, for sums that come out even.
    """

    RETRY = 10
    RESERVE = 3 * RETRY
    MOST = 10 * RETRY

    def __init__(self) -> None:
        self._tenths = self.RESERVE

    def deposit(self) -> None:
        """Pay in for one call."""
        self._tenths = min(self.MOST, self._tenths + 1)

    def withdraw(self) -> bool:
        """Pay for one retry; return whether there was enough."""
        if self._tenths < self.RETRY:
            return False
        self._tenths -= self.RETRY
        return True


class Retry:
    """Retries the calls of one dependency, within one budget.

    Only errors.Unavailable leads to another attempt: other errors are answers, and a cancellation is obeyed at once,
    in the waits too. There is none while the breaker is open, past the caller's deadline or beyond the budget; the
    error of the last attempt is raised then.
    """

    def __init__(
        self,
        limits: RetryLimits,
        breaker: Breaker,
        clock: Callable[[], float],
        random: Callable[[], float],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        on_retry: Callable[[str], object] = lambda _dependency: None,
    ) -> None:
        """`clock` returns monotonic seconds, `random` a number from 0 up to 1; `on_retry` is told of each retry."""
        self._limits = limits
        self._breaker = breaker
        self._clock = clock
        self._random = random
        self._on_retry = on_retry
        self._budget = RetryBudget()
        self._retrying = AsyncRetrying(
            sleep=_returning_none(sleep),
            stop=self._is_over,
            wait=self._full_jitter,
            retry=retry_if_exception_type(errors.Unavailable),
            reraise=True,
        )

    async def call(self, attempt: Callable[[], Awaitable[T]], *, repeatable: bool) -> T:
        """Return what `attempt` returns, in the end. Say `repeatable` only if twice has the effect of once.

        Each attempt enters the breaker by itself.
        """
        self._budget.deposit()
        try:
            return await attempt()
        except errors.Unavailable as error:
            if not repeatable:
                raise
            failed = [error]

        async def known_failure_first() -> T:
            if failed:
                raise failed.pop()
            return await attempt()

        return await self._retrying(known_failure_first)

    def _full_jitter(self, state: RetryCallState) -> float:
        longest: float = self._limits.base * 2 ** (state.attempt_number - 1)
        return longest * self._random()

    def _is_over(self, state: RetryCallState) -> bool:
        """Return whether the attempt that just failed was the last; pay for the next otherwise."""
        if (
            state.attempt_number >= self._limits.attempts
            or self._breaker.open_for() > 0
            or state.upcoming_sleep >= seconds_left(self._clock())
            or not self._budget.withdraw()
        ):
            return True
        self._on_retry(self._breaker.name)
        return False


def _returning_none(sleep: Callable[[float], Awaitable[object]]) -> Callable[[float], Awaitable[None]]:
    async def wait(seconds: float) -> None:
        await sleep(seconds)

    return wait
