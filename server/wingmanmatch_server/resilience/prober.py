"""Probes a dependency that is in question, so that its breaker closes about a second after it serves again.

A probe costs the dependency nothing while its breaker is closed and nobody doubts it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.errors import Evidence
from wingmanmatch_server.resilience.breaker import Breaker

log = structlog.get_logger(__name__)

# Does what callers do, such as a write. Raises errors.Unavailable or TimeoutError unless the dependency serves.
Probe = Callable[[], Awaitable[None]]

PERIOD = 1.0  # seconds between two probes at most; half of it is random
PROBE_TIMEOUT = 1.0  # seconds


class Prober:
    """Settles what is in question about one breaker's dependency."""

    def __init__(
        self,
        breaker: Breaker,
        probe: Probe,
        random: Callable[[], float],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        timeout: float = PROBE_TIMEOUT,  # noqa: ASYNC109 - of each probe, not of a call
    ) -> None:
        """`random` returns a number from 0 up to 1. A probe without an answer after `timeout` seconds has failed."""
        self._breaker = breaker
        self._probe = probe
        self._random = random
        self._sleep = sleep
        self._timeout = timeout
        self._broken = False
        breaker.has_prober = True

    async def run(self) -> None:
        """Probe whenever the breaker is in question, at most once in half a period, until cancelled."""
        while True:
            await self._breaker.in_question.wait()
            available = await self._verdict()
            if available is not None:
                self._breaker.settle(available=available)
            await self._sleep(PERIOD * (1 + self._random()) / 2)

    async def _verdict(self) -> bool | None:
        """Return whether the dependency serves; None if the probe could not find out."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._probe()
        except errors.Unavailable as error:
            return None if error.evidence is Evidence.NONE else False
        except TimeoutError:
            return False
        except Exception:
            if not self._broken:  # logged once an outage, not once a probe
                self._broken = True
                log.exception("probe_failed", dependency=self._breaker.name)
            return False
        self._broken = False
        return True
