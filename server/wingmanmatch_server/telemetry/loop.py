"""Notices when the event loop does not turn: while something blocks it, every call waits."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import CollectorRegistry, Histogram

log = structlog.get_logger(__name__)

INTERVAL = 0.25  # seconds
LONG = 1.0  # seconds of delay that are worth a line in the log
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def loop_lag(registry: CollectorRegistry) -> Callable[[float], None]:
    """Return what records one delay in seconds."""
    name, about = "wingmanmatch_event_loop_lag_seconds", "How late the event loop came to what was due."
    return Histogram(name, about, registry=registry, buckets=BUCKETS).observe


async def watch_loop(
    observe: Callable[[float], None],
    clock: Callable[[], float],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Sleep again and again, and record by how much each sleep was too long, until cancelled.

    `clock` returns monotonic seconds.
    """
    while True:
        started = clock()
        await sleep(INTERVAL)
        lag = max(0.0, clock() - started - INTERVAL)
        observe(lag)
        if lag >= LONG:
            log.warning("event_loop_blocked", seconds=round(lag, 3))
