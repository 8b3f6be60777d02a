"""Starts the workers, restarts those that end, and stops all."""

import asyncio
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

import structlog

from wingmanmatch_server.addresses import Addresses, Announce
from wingmanmatch_server.open_files import OWN_FILES, ConnectionShares, reserve_files
from wingmanmatch_server.serving import end_within, longest_stop, stop_signals, wanted_connections
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.web.listeners import Listeners
from wingmanmatch_server.web.metrics import HttpMetrics
from wingmanmatch_server.workers.admin import SupervisorMetrics, open_admin_routes
from wingmanmatch_server.workers.assignment import Assignment
from wingmanmatch_server.workers.backoff import Backoff
from wingmanmatch_server.workers.front import SOCKETS_OF_A_WORKER, open_front_routes
from wingmanmatch_server.workers.process import Worker, WorkerFailed

log = structlog.get_logger(__name__)

LATER = 5.0  # seconds that the supervisor waits longer than a worker may take to stop


async def supervise(settings: Settings, database_url: str | None, redis_url: str, announce: Announce) -> bool:
    """Run `settings.workers` workers until a signal says stop; return whether all of them ended in good order.

    A worker that ends is started again, the others go on. A signal is passed on to all of them: each drains and stops
    by itself. Raises WorkerFailed if one does not begin to serve at the start, and AddressInUse.
    """
    signals, metrics = stop_signals(), SupervisorMetrics()
    patience = longest_stop(settings) + LATER
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wingmanmatch-"))
        workers = [
            Worker(
                index,
                Assignment(
                    grpc_listen=address,
                    http_listen=f"unix:{folder}/{index}",
                    admin_listen=f"unix:{folder}/{index}-admin",
                    database_url=database_url,
                    redis_url=redis_url,
                ),
            )
            for index, address in enumerate(addresses(settings))
        ]
        listeners = Listeners(settings, _room(settings), HttpMetrics(metrics.registry))
        front = await stack.enter_async_context(open_front_routes(workers))
        admin = await stack.enter_async_context(open_admin_routes(workers, metrics.registry))
        http_address = await stack.enter_async_context(listeners.public(front))
        admin_address = await stack.enter_async_context(listeners.admin(admin))
        supervisor = Supervisor(workers, metrics.restarted, patience, lambda: end_within(patience + LATER))
        return await supervisor.run(signals, lambda grpc: announce(Addresses(grpc, http_address, admin_address)))


def _room(settings: Settings) -> ConnectionShares:
    """Return how many connections there may be here, where there are none of gRPC but some to each worker."""
    wanted = replace(wanted_connections(settings), grpc=0)
    return reserve_files(wanted, OWN_FILES + settings.workers * SOCKETS_OF_A_WORKER)


def addresses(settings: Settings) -> list[str]:
    """Return where each worker answers gRPC: on consecutive ports, or if that is 0 on any that are free."""
    host, _, port = settings.grpc_listen.rpartition(":")
    return [f"{host}:{int(port) + index if int(port) else 0}" for index in range(settings.workers)]


class Supervisor:
    """Keeps workers running."""

    def __init__(
        self,
        workers: Sequence[Worker],
        on_restart: Callable[[int], object],
        patience: float,
        on_stop: Callable[[], object] = lambda: None,
        *,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        """`patience` is for how many seconds a worker that was told to stop is waited for.

        `on_restart` is told which worker is started again, `on_stop` that all are about to stop. Each worker has a
        `backoff` of its own.
        """
        self._workers = workers
        self._on_restart = on_restart
        self._patience = patience
        self._on_stop = on_stop
        self._backoff = backoff

    async def run(self, signals: "asyncio.Queue[int]", announce: Callable[[Sequence[str]], None]) -> bool:
        """Start all, announce their addresses, keep them until a signal, and stop them; return whether all ended well.

        A signal during the start ends that, which is well too. Raises WorkerFailed if one does not start. None runs
        afterwards.
        """
        stopped = None
        try:
            if stopped := await _unless(signals, _together(worker.start() for worker in self._workers)):
                return True
            announce([worker.address for worker in self._workers])
            stopped = await _unless(signals, _together(map(self._keep, self._workers)))
        finally:
            ended_well = await self._stop(stopped or signal.SIGINT, signals)
        return ended_well

    async def _keep(self, worker: Worker) -> None:
        """Start the worker again whenever it ends."""
        backoff, started = self._backoff(), time.monotonic()
        while True:
            status = await worker.ended()
            log.error("worker_ended", worker=worker.index, status=status)
            await asyncio.sleep(backoff.after(time.monotonic() - started))
            started = time.monotonic()
            self._on_restart(worker.index)
            try:
                await worker.start()
            except WorkerFailed as error:
                log.warning("worker_failed", worker=worker.index, error=str(error))
            else:
                log.warning("worker_restarted", worker=worker.index)

    async def _stop(self, number: int, signals: "asyncio.Queue[int]") -> bool:
        """Pass a signal on, and those that follow; kill what is left after `patience`."""
        self._on_stop()
        ended = asyncio.gather(*(worker.ended() for worker in self._workers if worker.pid))
        self._signal(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while (again := await _unless(signals, asyncio.shield(ended))) is not None:
                    self._signal(again)
        self._signal(signal.SIGKILL)
        return not any(await ended)

    def _signal(self, number: int) -> None:
        for worker in self._workers:
            worker.send_signal(number)


async def _together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all at once. Raises what the first that fails raises, once the others are cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _unless(signals: "asyncio.Queue[int]", work: Awaitable[object]) -> int | None:
    """Do `work` and return None; or if a signal comes first, cancel it and return the signal. Raises as `work` does."""
    working, received = asyncio.ensure_future(work), asyncio.ensure_future(signals.get())
    try:
        await asyncio.wait((working, received), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return received.result()
        working.result()
        return None
    finally:
        for task in (working, received):
            task.cancel()
        await asyncio.gather(working, received, return_exceptions=True)
