"""Work that nobody asks for but time: each piece again and again, whatever became of it the last time."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from wingmanmatch_server import errors

log = structlog.get_logger(__name__)


async def repeat(
    name: str,
    work: Callable[[], Awaitable[object]],
    *,
    interval: float,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Do `work`, then sleep `interval` seconds, until cancelled. What it raises is logged, and the next turn taken."""
    while True:
        try:
            await work()
        except errors.DomainError as error:
            log.warning("housekeeping_failed", work=name, reason=error.reason)
        except Exception:
            log.exception("housekeeping_failed", work=name)
        await sleep(interval)
