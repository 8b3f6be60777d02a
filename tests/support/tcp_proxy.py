"""One address before several servers, as a load balancer or a moving IP address is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class TcpProxy:
    """Leads each new connection to `target`, a port, and leaves those that are there where they are."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client."""
        ours = {writer}
        self._writers.add(writer)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
            ours.add(forth)
            self._writers.add(forth)
            await asyncio.gather(_pass_on(reader, forth), _pass_on(back, writer))
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
