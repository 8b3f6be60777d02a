"""The one HTTP address of several workers."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from yarl import URL

from wingmanmatch_server.web import LARGEST_BODY, start_site
from wingmanmatch_server.workers.metrics import LABEL, merge
from wingmanmatch_server.workers.process import Worker

log = structlog.get_logger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=1)
SCRAPE_TIMEOUT = aiohttp.ClientTimeout(total=3)
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
# What speaks of one connection (RFC 9110, section 7.6.1), and what is told anew for the other.
OF_ONE_CONNECTION = frozenset(
    (
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
# What aiohttp would add to a request that lacks it.
ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


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


class Front:
    """Answers `/metrics` for all workers, and hands every other request to one that is up."""

    def __init__(self, workers: Sequence[Worker], sessions: Sequence[aiohttp.ClientSession], own: Collector) -> None:
        """`sessions` lead to the workers, in their order; `own` are the supervisor's metrics."""
        self._workers = list(zip(workers, sessions, strict=True))
        self._own = own
        self._turn = 0

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer with the metrics of all workers that are up, in the format asked for."""
        texts = await asyncio.gather(*(self._scrape(worker, session) for worker, session in self._workers))
        found = {str(worker.index): text for (worker, _), text in zip(self._workers, texts, strict=True) if text}
        up = GaugeMetricFamily("wingmanmatch_worker_up", "1 if the worker told its metrics.", labels=(LABEL,))
        for worker, _ in self._workers:
            up.add_metric((str(worker.index),), str(worker.index) in found)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected((up, *self._own.collect(), *merge(found))))
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def hand_on(self, request: web.Request) -> web.Response:
        """Answer with what a worker answers; 503 if none can be reached, 504 if it takes too long.

        A request is given to a second worker only if the first was not reached.
        """
        body = await request.read()
        for session in self._in_turn():
            try:
                return await _ask(session, request, body)
            except aiohttp.ClientConnectorError:
                continue
            except TimeoutError:
                return web.Response(status=504)
            except aiohttp.ClientError as error:
                log.warning("worker_http_failed", error=type(error).__name__)
                return web.Response(status=502)
        return web.Response(status=503, headers={"Retry-After": "1"})

    def _in_turn(self) -> Iterable[aiohttp.ClientSession]:
        self._turn += 1
        places = ((self._turn + offset) % len(self._workers) for offset in range(len(self._workers)))
        return [session for worker, session in map(self._workers.__getitem__, places) if worker.is_up]

    async def _scrape(self, worker: Worker, session: aiohttp.ClientSession) -> str:
        if not worker.is_up:
            return ""
        try:
            async with session.get("/metrics", headers=OPENMETRICS, timeout=SCRAPE_TIMEOUT) as response:
                return await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("worker_metrics_missing", worker=worker.index, error=type(error).__name__)
            return ""


@asynccontextmanager
async def serve_front(listen: str, workers: Sequence[Worker], own: Collector) -> AsyncIterator[int]:
    """Serve HTTP for `workers` on `listen` and yield the port. Raises OSError if the address is taken."""
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(_session_to(worker)) for worker in workers]
        front = Front(workers, sessions, own)
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_get("/metrics", front.metrics)
        application.router.add_route("*", "/{path:.*}", front.hand_on)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        yield await start_site(runner, listen)


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _session_to(worker: Worker) -> aiohttp.ClientSession:
    connector = aiohttp.UnixConnector(worker.http_socket)
    return aiohttp.ClientSession(
        "http://worker", connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )


async def _ask(session: aiohttp.ClientSession, request: web.Request, body: bytes) -> web.Response:
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in OF_ONE_CONNECTION]
    async with session.request(
        request.method,
        URL(request.raw_path, encoded=True),
        headers=headers,
        data=body or None,
        timeout=TIMEOUT,
        allow_redirects=False,
        skip_auto_headers=ADDED,
    ) as answer:
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in OF_ONE_CONNECTION]
        response = web.Response(status=answer.status, reason=answer.reason, body=await answer.read())
        response.headers.clear()
        response.headers.extend(kept)
        return response
