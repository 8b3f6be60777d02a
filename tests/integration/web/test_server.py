"""One HTTP listener: its limits where they meet a handler."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from wingmanmatch_server.web.limits import HttpLimits
from wingmanmatch_server.web.server import serve_http

GET = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Handler:
    """Answers when it is let go, and says how many requests wait for that."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.waiting = asyncio.Semaphore(0)

    async def answer(self, _request: web.Request) -> web.Response:
        """Wait, then answer."""
        self.waiting.release()
        await self.let_go.wait()
        return web.Response(text="done")

    @property
    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.get("/wait", self.answer)]


async def test_connections_being_answered_are_not_evicted() -> None:
    """With all connections being answered another one is refused; with one that waits, that one makes room."""
    handler, limits = Handler(), HttpLimits(max_connections=2)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serve_http("127.0.0.1:0", handler.routes, limits=limits))
        first, idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        first[1].write(GET % b"wait")
        await handler.waiting.acquire()
        third = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionResetError):
            await idle[0].read()
        third[1].write(GET % b"wait")
        await handler.waiting.acquire()
        refused = await asyncio.open_connection("127.0.0.1", port)
        assert await refused[0].read() == b""
        handler.let_go.set()
        for reader, _ in (first, third):
            assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200")
        for _, writer in (first, idle, third, refused):
            writer.close()


async def test_connection_that_ends_gives_its_place_back() -> None:
    """Any number of connections may come one after the other."""
    handler = Handler()
    handler.let_go.set()
    async with serve_http("127.0.0.1:0", handler.routes, limits=HttpLimits(max_connections=1)) as port:
        for _ in range(5):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/wait", timeout=aiohttp.ClientTimeout(total=5)) as answer,
            ):
                assert answer.status == 200


async def test_handler_that_raises_is_one_500(caplog: pytest.LogCaptureFixture) -> None:
    """A defect of a handler is told as 500, without a word about it, and ends the connection."""

    async def fail(_request: web.Request) -> web.Response:
        raise ValueError("a secret")

    async with (
        serve_http("127.0.0.1:0", [web.get("/fail", fail)]) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/fail") as answer,
    ):
        assert (answer.status, answer.headers["Connection"]) == (500, "close")
        assert "secret" not in await answer.text()
    assert caplog.records == []  # it is the server's own log that has it


@pytest.mark.slow
async def test_handler_that_never_ends() -> None:
    """A handler that waits for ever is answered 503 once its time is over."""
    handler = Handler()
    async with (
        serve_http("127.0.0.1:0", handler.routes) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/wait") as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
