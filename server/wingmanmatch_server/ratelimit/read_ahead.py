"""Reads a stream of requests while those that came before are answered."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Generic, TypeVar

Request = TypeVar("Request")


class ReadAhead(Generic[Request]):
    """Reads on until `most` requests wait to be answered."""

    def __init__(self, requests: AsyncIterator[Request], most: int) -> None:
        self._requests = requests
        self._most = most
        self._waiting: list[Request] = []
        self._ended = False
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def groups(self) -> AsyncGenerator[list[Request], None]:
        """Yield again and again what has come meanwhile, in order; raise what reading raised after all before it."""
        reader = asyncio.create_task(self._read())
        try:
            while self._waiting or not self._ended:
                await self._news.wait()
                self._news.clear()
                group, self._waiting = self._waiting, []
                self._room.set()
                if group:
                    yield group
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                while len(self._waiting) >= self._most:
                    self._room.clear()
                    await self._room.wait()
                self._waiting.append(request)
                self._news.set()
        finally:
            self._ended = True
            self._news.set()
