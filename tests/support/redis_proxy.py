"""A wire between a client and the real Redis that a test can slow down or cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit


class RedisProxy:
    """Passes bytes on; knows what was sent."""

    def __init__(self, upstream: str, path: Path) -> None:
        self.url = f"unix://{path}"
        self.sent = bytearray()
        self.reply_delay = 0.0
        self.replies_lost = False
        self.lost = 0
        self._upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()

    def count(self, command: bytes) -> int:
        """Return how often a command was sent."""
        return bytes(self.sent).count(b"\r\n" + command + b"\r\n")

    def cut(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client."""
        from_redis, to_redis = await asyncio.open_unix_connection(self._upstream)
        ours = {writer, to_redis}
        self._writers |= ours
        try:
            await asyncio.gather(self._up(reader, to_redis), self._down(from_redis, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= ours
            for each in ours:
                each.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.sent += data
            writer.write(data)
        writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(self.reply_delay)
            if self.replies_lost:
                self.lost += 1
            else:
                writer.write(data)
        writer.close()


@asynccontextmanager
async def proxying(redis_url: str, folder: Path) -> AsyncIterator[RedisProxy]:
    """Serve a wire to the Redis at `redis_url`, a Unix socket, on a socket in `folder`."""
    path = folder / "proxy.sock"
    proxy = RedisProxy(unquote(urlsplit(redis_url).path), path)
    server = await asyncio.start_unix_server(proxy.serve, path)
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await server.wait_closed()
