"""A wire between a client and a server that a test can cut, or that loses answers on their way back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

Address = Path | tuple[str, int]
CHUNK = 65536


class Wire:
    """Passes bytes on, to a Unix socket or a TCP port."""

    def __init__(self, upstream: Address) -> None:
        self.answers_lost = False
        self._upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Cut every connection and return once nothing is passed on."""
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Close every connection at once, and forget what was on its way."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client until either side closes."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            from_server, to_server = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        ours = {writer, to_server}
        tasks = {
            asyncio.create_task(self._pass(reader, to_server, lossy=False)),
            asyncio.create_task(self._pass(from_server, writer, lossy=True)),
        }
        self._writers |= ours
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in ours:
            each.transport.abort()
        await asyncio.wait(tasks)
        self._writers -= ours

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(self._upstream)
        return await asyncio.open_connection(*self._upstream)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, lossy: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if not (lossy and self.answers_lost):
                    writer.write(data)
                    await writer.drain()


@asynccontextmanager
async def unix_wire(upstream: Path, path: Path) -> AsyncIterator[Wire]:
    """Serve a wire on the Unix socket `path` to the one at `upstream`."""
    wire = Wire(upstream)
    async with _closing(await asyncio.start_unix_server(wire.serve, path), wire):
        yield wire


@asynccontextmanager
async def tcp_wire(target: str) -> AsyncIterator[tuple[Wire, str]]:
    """Serve a wire to `target`, `HOST:PORT`, and yield it with its own address."""
    host, _, port = target.rpartition(":")
    wire = Wire((host, int(port)))
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    own: tuple[str, int] = server.sockets[0].getsockname()
    async with _closing(server, wire):
        yield wire, f"127.0.0.1:{own[1]}"


@asynccontextmanager
async def _closing(server: asyncio.Server, wire: Wire) -> AsyncIterator[None]:
    try:
        yield
    finally:
        server.close()
        await wire.close()
        await server.wait_closed()
