"""A server that speaks enough of Redis' protocol to greet, and answers every command by one line given beforehand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

GREETINGS = {
    b"HELLO": b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n",
    b"PING": b"+PONG\r\n",
}


class ReplyingServer:
    """Answers with `reply`, such as `-OOM command not allowed`; counts the connections made."""

    def __init__(self) -> None:
        self.reply = "+OK"
        self.connections = 0
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client, command by command."""
        self.connections += 1
        self._writers.add(writer)
        while line := await reader.readline():
            words = [await _word(reader) for _ in range(int(line[1:]))]
            writer.write(GREETINGS.get(words[0], f"{self.reply}\r\n".encode()))
        writer.close()

    def close(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()


async def _word(reader: asyncio.StreamReader) -> bytes:
    length = int((await reader.readline())[1:])
    return (await reader.readexactly(length + 2))[:-2]


@asynccontextmanager
async def replying_server() -> AsyncIterator[ReplyingServer]:
    """Serve on a port of loopback."""
    replying = ReplyingServer()
    server = await asyncio.start_server(replying.serve, "127.0.0.1", 0)
    replying.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield replying
    finally:
        server.close()
        replying.close()
