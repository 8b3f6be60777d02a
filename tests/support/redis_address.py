"""One TCP address before several servers, as a load balancer or a DNS name has it: connections stay where they are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Address:
    """Leads new connections to the server at `port`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client."""
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.port)
        ours = {writer, to_server}
        self._writers |= ours
        with suppress(asyncio.CancelledError):  # at the end of the test
            await asyncio.gather(_pump(reader, to_server), _pump(from_server, writer))
        self._writers -= ours

    def close(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def one_address(port: int) -> AsyncIterator[Address]:
    """Serve an address that leads to the server at `port` until it is changed."""
    address = Address(port)
    server = await asyncio.start_server(address.serve, "127.0.0.1", 0)
    address.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield address
    finally:
        server.close()
        address.close()
