"""Copies of the catalogue in Redis, for all replicas. Without Redis there are none, which is found out quickly."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import orjson

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.resilience.breaker import Breaker

PATIENCE = 1.0  # seconds to wait for Redis, which is here to save a call of the database
Json = dict[str, Any]


class RedisCopies:
    """What lies under `challenges:VERSION`. A version says what the content is, so a copy is never wrong, only old."""

    def __init__(self, redis: RedisServer, breaker: Breaker, *, ttl: timedelta, patience: float = PATIENCE) -> None:
        """A copy is forgotten after `ttl`."""
        self._redis = redis
        self._breaker = breaker
        self._ttl = ttl
        self._patience = patience

    async def get(self, version: str) -> list[Json] | None:
        """Return the catalogue of that version; None if there is no copy, or no Redis."""
        kept = await self._ask(self._redis.client.get, _key(version))
        return orjson.loads(kept) if kept else None

    async def put(self, version: str, challenges: list[Json]) -> None:
        """Keep a copy, if Redis is there."""
        await self._ask(self._redis.client.set, _key(version), orjson.dumps(challenges), px=self._ttl)

    async def _ask(self, command: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
        """Return the reply, or None if none came."""
        try:
            with self._breaker.guard(), self._redis.calling():
                async with asyncio.timeout(self._patience):
                    return await command(*arguments, **options)
        except (errors.Unavailable, TimeoutError):
            return None


def _key(version: str) -> str:
    return f"challenges:{version}"
