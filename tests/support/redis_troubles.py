"""A Redis that answers reads and takes no write: its memory is full, or it cannot save."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

Trouble = Callable[[Any, Path], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def out_of_memory(client: Any, _folder: Path) -> AsyncIterator[None]:
    """Leave no memory for what is written."""
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("maxmemory", 1)
    yield
    await client.config_set("maxmemory", 0)


@asynccontextmanager
async def cannot_save(client: Any, folder: Path) -> AsyncIterator[None]:
    """Put a folder where the snapshot goes: Redis then takes no writes, as it does on a disk that is full."""
    (folder / "dump.rdb").mkdir()
    await client.config_set("save", "3600 1")
    await _save(client, "err")
    yield
    (folder / "dump.rdb").rmdir()
    await _save(client, "ok")


async def _save(client: Any, expected: str) -> None:
    await client.bgsave()
    async with asyncio.timeout(10):
        while (await client.info("persistence"))["rdb_last_bgsave_status"] != expected:
            await asyncio.sleep(0.01)
