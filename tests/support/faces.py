"""The client's two faces as one, so that a test says once what both must do."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from typing import Any

from wingmanmatch_client import connect, connect_sync

FACES = ("async", "sync")
END = object()


class Face:
    """A client whose services are called by `call`, `read` and `open`, whichever of the two it is."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def call(self, service: str, method: str, *given: Any, **arguments: Any) -> Any:
        """Make a call and return its answer."""
        bound = getattr(getattr(self.client, service), method)
        if inspect.iscoroutinefunction(bound):
            return await bound(*given, **arguments)
        return await asyncio.to_thread(bound, *given, **arguments)

    async def read(self, service: str, method: str, *given: Any, **arguments: Any) -> list[Any]:
        """Read a method that yields to its end."""
        return [each async for each in self.open(service, method, *given, **arguments)]

    async def open(self, service: str, method: str, *given: Any, **arguments: Any) -> AsyncIterator[Any]:
        """Yield what a method yields."""
        items = getattr(getattr(self.client, service), method)(*given, **arguments)
        if isinstance(items, Iterator):
            with closing(items):
                while (item := await asyncio.to_thread(next, items, END)) is not END:
                    yield item
            return
        async with aclosing(items):
            async for item in items:
                yield item

    async def close(self) -> None:
        """Close the client."""
        closing = self.client.close()
        if closing is not None:
            await closing


@asynccontextmanager
async def open_face(face: str, target: str, **options: Any) -> AsyncIterator[Face]:
    """Yield one of `FACES` of the server at `target`."""
    if face == "async":
        async with connect(target, **options) as client:
            yield Face(client)
    else:
        with connect_sync(target, **options) as client:
            yield Face(client)
