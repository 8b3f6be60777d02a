"""One address before several servers, as a load balancer or a moving IP address is; it may be far away."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

Chunks = asyncio.Queue[tuple[float, bytes]]


class TcpProxy:
    """Leads each new connection to `target`, a port, and leaves those that are there where they are."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay = 0.0  # seconds that each answer is on its way
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client."""
        ours = {writer}
        self._writers.add(writer)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
            ours.add(forth)
            self._writers.add(forth)
            await asyncio.gather(_pass_on(reader, forth), self._pass_back(back, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= ours
            for each in ours:
                each.close()

    def cut(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, each piece `delay` after it came, however many are on their way."""
        chunks: Chunks = asyncio.Queue()
        await asyncio.gather(self._receive(reader, chunks), _deliver(chunks, writer))

    async def _receive(self, reader: asyncio.StreamReader, chunks: Chunks) -> None:
        try:
            while data := await reader.read(65536):
                chunks.put_nowait((time.monotonic() + self.delay, data))
        finally:
            chunks.put_nowait((0.0, b""))


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[TcpProxy]:
    """Serve an address that leads to a port of this machine."""
    proxy = TcpProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await server.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def _deliver(chunks: Chunks, writer: asyncio.StreamWriter) -> None:
    try:
        while (chunk := await chunks.get())[1]:
            if (wait := chunk[0] - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            writer.write(chunk[1])
            await writer.drain()
    finally:
        writer.close()
