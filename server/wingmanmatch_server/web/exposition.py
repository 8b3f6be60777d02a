"""Metrics as text, rendered in a thread: several thousand lines would hold up every call for tens of milliseconds."""

import asyncio
import gzip
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

GZIP_LEVEL = 3


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
    body, headers = encode(registry()), {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if not gzip_accepted(accept_encoding):
        return body, headers
    return gzip.compress(body, GZIP_LEVEL), headers | {"Content-Encoding": "gzip"}
