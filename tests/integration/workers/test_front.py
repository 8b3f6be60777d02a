"""The HTTP address of several workers, each played by a server on a Unix socket."""

import io
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from yarl import URL

from wingmanmatch_server.web.limits import BETWEEN_PROCESSES, HttpLimits
from wingmanmatch_server.web.server import serve_http
from wingmanmatch_server.workers.admin import open_admin_routes
from wingmanmatch_server.workers.assignment import Assignment
from wingmanmatch_server.workers.front import open_front_routes
from wingmanmatch_server.workers.process import Worker


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path suits a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


class Inside:
    """A worker's HTTP, and the requests it had."""

    def __init__(self, index: int, folder: Path) -> None:
        self.worker = Worker(
            index, Assignment("127.0.0.1:1", f"unix:{folder}/{index}", f"unix:{folder}/{index}-admin", None, "")
        )
        self.worker.is_up = True
        self.requests: list[tuple[str, str, bytes]] = []
        self.headers: dict[str, str] = {}

    async def answer(self, request: web.Request) -> web.Response:
        """Note a request and answer it."""
        self.requests.append((request.method, request.raw_path, await request.read()))
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Content-Type", "text/x-odd")]
        return web.Response(status=207, reason="Well", body=b"from a worker", headers=headers)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer on the worker's socket."""
        routes = [web.route("*", "/{path:.*}", self.answer)]
        async with serve_http(f"unix:{self.worker.http_socket}", routes, limits=BETWEEN_PROCESSES):
            yield


@asynccontextmanager
async def front_of(*inside: Inside, away: tuple[Inside, ...] = ()) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session with the front of workers, those of `away` not answering."""
    async with AsyncExitStack() as stack:
        for each in inside:
            if each not in away:
                await stack.enter_async_context(each.serving())
        workers = [each.worker for each in inside]
        front = await stack.enter_async_context(open_front_routes(workers))
        admin = await stack.enter_async_context(open_admin_routes(workers, CollectorRegistry()))
        port = await stack.enter_async_context(serve_http("127.0.0.1:0", [*admin, *front]))
        yield await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))


async def test_request_is_handed_on_as_it_came(folder: Path) -> None:
    """A worker gets method, path, query, body and headers, and its answer comes back with status and headers."""
    inside = Inside(0, folder)
    headers = {"svix-signature": "v1,abc=", "Connection": "close", "Content-Type": "application/json"}
    async with (
        front_of(inside) as session,
        session.post(URL("/webhooks/resend?x=%2F1", encoded=True), data=b'{"a": 1}', headers=headers) as answer,
    ):
        assert (answer.status, answer.reason, await answer.read()) == (207, "Well", b"from a worker")
        assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert answer.headers["Content-Type"] == "text/x-odd"
    assert inside.requests == [("POST", "/webhooks/resend?x=%2F1", b'{"a": 1}')]
    assert inside.headers["svix-signature"] == "v1,abc="
    assert inside.headers["content-type"] == "application/json"
    assert inside.headers.get("connection") != "close"


async def test_workers_take_turns(folder: Path) -> None:
    """Requests are spread; a worker that is not up, or cannot be reached, is passed by."""
    inside = [Inside(index, folder) for index in range(4)]
    inside[2].worker.is_up = False
    async with front_of(*inside, away=(inside[3],)) as session:
        for _ in range(8):
            async with session.get("/unsubscribe") as answer:
                assert answer.status == 207
    counts = [len(each.requests) for each in inside]
    assert sum(counts) == 8
    assert min(counts[:2]) > 0
    assert counts[2:] == [0, 0]


async def test_nobody_is_there(folder: Path) -> None:
    """Without a worker the answer is 503, and monitoring still hears that none is up."""
    inside = Inside(0, folder)
    async with front_of(inside, away=(inside,)) as session:
        async with session.get("/unsubscribe") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        async with session.get("/metrics") as answer:
            assert 'wingmanmatch_worker_up{worker="0"} 0.0' in await answer.text()


async def test_large_body_is_refused(folder: Path) -> None:
    """A body larger than any worker would take reaches none."""
    inside = Inside(0, folder)
    async with (
        front_of(inside) as session,
        session.post("/webhooks/resend", data=io.BytesIO(bytes(HttpLimits().max_body + 1))) as answer,
    ):
        assert answer.status == 413
    assert inside.requests == []
