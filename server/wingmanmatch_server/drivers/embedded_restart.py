"""Starts an embedded engine again when it ends while the server runs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

import structlog

from wingmanmatch_server.drivers.embedded_process import Engine, EngineError

POLL_SECONDS = 0.1
OVERDUE_SECONDS = 30.0

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[object]]


class Backoff(Protocol):
    """How long to wait before something that keeps ending is started again."""

    def after(self, lived: float, /) -> float:
        """Return the seconds to wait now that it ended after `lived` seconds."""


async def keep_running(
    engine: Engine, backoff: Backoff, *, sleep: Sleep = asyncio.sleep, clock: Callable[[], float] = time.monotonic
) -> NoReturn:
    """Start an engine that runs again whenever it ends, until cancelled.

    A start that fails is logged with its reason and tried again after the backoff, for ever: meanwhile the server
    goes on without the engine. An engine that recovers its data is given all the time it needs. Call it on an event
    loop of the main thread, which it never blocks for long.
    """
    started = clock()
    while True:
        while not engine.has_ended:
            await sleep(POLL_SECONDS)
        wait = backoff.after(clock() - started)
        log.error("engine_ended", engine=engine.title, status=engine.exit_status, restart_in_seconds=wait)
        await sleep(wait)
        started = clock()
        try:
            engine.begin_again()
            await _until_it_answers(engine, sleep, clock)
        except Exception as error:  # noqa: BLE001 - whatever it is may be over at the next try
            reason = str(error) if isinstance(error, EngineError) else type(error).__name__
            log.error("engine_restart_failed", engine=engine.title, reason=reason)  # noqa: TRY400 - no traceback
        else:
            log.warning("engine_restarted", engine=engine.title, seconds=round(clock() - started, 3))


async def _until_it_answers(engine: Engine, sleep: Sleep, clock: Callable[[], float]) -> None:
    """Start the engine and return once it answers. Raises EngineError if it ends before."""
    overdue = clock() + OVERDUE_SECONDS
    # Only this thread may start a process; asking one may block, so that is left to another.
    while not (engine.advance() and await asyncio.to_thread(engine.accepts_connections)):
        if clock() >= overdue:
            overdue += OVERDUE_SECONDS
            log.warning("engine_restart_overdue", engine=engine.title, reason=engine.overdue(OVERDUE_SECONDS))
        await sleep(POLL_SECONDS)
