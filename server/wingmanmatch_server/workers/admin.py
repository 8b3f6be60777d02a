"""The one administrator's address of several workers: all their metrics, and which of them are ready."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import orjson
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from wingmanmatch_server.web.admin import Report, admin_routes
from wingmanmatch_server.web.exposition import Exposition
from wingmanmatch_server.workers.front import session_to
from wingmanmatch_server.workers.metrics import LABEL, merge
from wingmanmatch_server.workers.process import Worker

log = structlog.get_logger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=3)
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "identity"}


class SupervisorMetrics:
    """What the supervisor itself counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._restarts = Counter(
            "wingmanmatch_worker_restarts", "Times that a worker was started again.", (LABEL,), registry=self.registry
        )

    def restarted(self, index: int) -> None:
        """Note that a worker was started again."""
        self._restarts.labels(str(index)).inc()


class WorkersAdmin:
    """Asks every worker that is up, and answers for all of them."""

    def __init__(self, workers: Sequence[Worker], sessions: Sequence[aiohttp.ClientSession], own: Collector) -> None:
        """`sessions` lead to the workers' administrator's sockets, in their order; `own` are the supervisor's metrics.

        The metrics of a worker that does not answer are missing, and `wingmanmatch_worker_up` says so.
        """
        self._workers = list(zip(workers, sessions, strict=True))
        self._own = own
        self._exposition = Exposition()

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer with the metrics of all workers, in the format asked for."""
        answers = await self._ask_all("/metrics", OPENMETRICS)
        texts = {worker: answer.decode() for worker, answer in answers.items() if answer}
        return await self._exposition.answer(request, lambda: self._registry(answers.keys(), texts))

    async def report(self) -> Report:
        """Return what each worker reports, None for one that does not answer; one that is ready is enough."""
        answers = await self._ask_all("/healthz")
        workers: dict[str, Any] = {worker: orjson.loads(answer or b"null") for worker, answer in answers.items()}
        return Report(any(found and found["ready"] for found in workers.values()), {"workers": workers})

    def _registry(self, workers: Iterable[str], texts: Mapping[str, str]) -> CollectorRegistry:
        up = GaugeMetricFamily(
            "wingmanmatch_worker_up", "1 if the metrics of the worker could be read.", labels=(LABEL,)
        )
        for worker in workers:
            up.add_metric((worker,), worker in texts)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected((up, *_joined(self._own.collect(), merge(texts)))))
        return registry

    async def _ask_all(self, path: str, headers: Mapping[str, str] | None = None) -> dict[str, bytes]:
        """Return each worker's answer, empty if there was none."""
        answers = await asyncio.gather(*(_ask(worker, session, path, headers) for worker, session in self._workers))
        return {str(worker.index): answer for (worker, _), answer in zip(self._workers, answers, strict=True)}


@asynccontextmanager
async def open_admin_routes(workers: Sequence[Worker], own: Collector) -> AsyncIterator[list[web.RouteDef]]:
    """Yield the routes by which all workers tell their metrics and health; `own` are the supervisor's metrics."""
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(session_to(worker.admin_socket)) for worker in workers]
        admin = WorkersAdmin(workers, sessions, own)
        yield admin_routes(admin.metrics, admin.report)


def _joined(own: Iterable[Metric], of_workers: Iterable[Metric]) -> Iterable[Metric]:
    """Return all families, those that both have once: a family may stand only once in what Prometheus reads."""
    joined = {family.name: family for family in own}
    for family in of_workers:
        joined.setdefault(family.name, Metric(family.name, family.documentation, family.type, family.unit))
        joined[family.name].samples += family.samples
    return joined.values()


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


async def _ask(worker: Worker, session: aiohttp.ClientSession, path: str, headers: Mapping[str, str] | None) -> bytes:
    if not worker.is_up:
        return b""
    try:
        async with session.get(path, headers=headers, timeout=TIMEOUT) as response:
            return await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        log.warning("worker_admin_unavailable", worker=worker.index, error=type(error).__name__)
        return b""
