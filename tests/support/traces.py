"""Where something of a person stands: in rows of the database, in Redis, and in files of emails."""

from pathlib import Path
from typing import Any

import asyncpg

from wingmanmatch_server.drivers.redis import RedisServer

TABLES = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"


async def tables_with(sql: asyncpg.Connection, needle: str) -> set[str]:
    """Return the names of the tables in some row of which a text stands."""
    found = set()
    for (name,) in await sql.fetch(TABLES):
        if await sql.fetchval(f'select exists (select from "{name}" t where t::text ilike $1)', f"%{needle}%"):
            found.add(name)
    return found


async def keys_with(redis: RedisServer, needle: str) -> set[str]:
    """Return the keys of Redis that hold a text in their name or in their value."""
    found = set()
    for key in await redis.client.keys("*"):
        if needle.encode() in key + await _value(redis.client, key):
            found.add(key.decode())
    return found


async def _value(client: Any, key: bytes) -> bytes:
    match await client.type(key):
        case b"hash":
            return repr(await client.hgetall(key)).encode()
        case b"zset":
            return repr(await client.zrange(key, 0, -1)).encode()
        case b"string":
            return await client.get(key) or b""
    return b""


def emails_since(folder: Path, address: str, since: float) -> list[str]:
    """Return the names of the files of emails to or about an address that were written after a time of the disk's."""
    return [
        file.name
        for file in folder.glob("*.eml")
        if file.stat().st_mtime > since and address in file.read_text("utf-8", errors="replace")
    ]
