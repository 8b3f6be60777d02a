"""Work that runs beside the calls for as long as the server does."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from wingmanmatch_server.notification.dispatcher import Dispatcher


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run all of `work` for the length of the context, and cancel it at the end."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def delivering(dispatcher: Dispatcher) -> AsyncIterator[None]:
    """Run the dispatcher for the length of the context, and let it end what it has begun."""
    task = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        dispatcher.stop()
        await task
