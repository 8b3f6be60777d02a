"""Metrics as text, rendered in a thread: several thousand lines would hold up every call for tens of milliseconds."""

import asyncio
import gzip
import time
from collections.abc import Callable, Iterable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

GZIP_LEVEL = 3
SAMPLES_AT_A_TIME = 25  # rendered in less than a millisecond


class Exposition:
    """Answers with metrics, one request at a time: any number of readers costs no more than one processor."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def answer(self, request: web.Request, registry: Callable[[], CollectorRegistry]) -> web.Response:
        """Answer with the metrics of what `registry` returns in a thread, in the format and encoding asked for."""
        accept, encoding = (request.headers.get(name, "") for name in ("Accept", "Accept-Encoding"))
        async with self._turn:
            body, headers = await asyncio.to_thread(render, registry, accept, encoding)
        return web.Response(body=body, headers=headers)


def render(
    registry: Callable[[], CollectorRegistry], accept: str, accept_encoding: str
) -> tuple[bytes, dict[str, str]]:
    """Return metrics in the format that two headers of a request ask for, with the headers that say which it is."""
    encode, content_type = choose_encoder(accept)
    body, headers = encode(_Pausing(registry())), {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if not gzip_accepted(accept_encoding):
        return body, headers
    return gzip.compress(body, GZIP_LEVEL), headers | {"Content-Encoding": "gzip"}


class _Pausing(Collector):
    """Metrics whose reader lets other threads run every few samples: the event loop waits for it in Python."""

    def __init__(self, metrics: Collector) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        for family in self._metrics.collect():
            shown = Metric(family.name, family.documentation, family.type, family.unit)
            # Read once, and in order.
            shown.samples = _pausing(family.samples)  # type: ignore[assignment]
            yield shown


def _pausing(samples: Iterable[Sample]) -> Iterator[Sample]:
    for number, sample in enumerate(samples):
        if number % SAMPLES_AT_A_TIME == 0:
            time.sleep(0)  # gives up the interpreter's lock to whoever waits for it
        yield sample
