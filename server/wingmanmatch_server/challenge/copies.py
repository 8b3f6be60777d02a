"""Copies of the catalogue in Redis, for all replicas. Without Redis there are none, which is found out quickly."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from wingmanmatch_server import errors
from wingmanmatch_server.challenge.rows import Challenge
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.resilience.breaker import Breaker

FORMAT = 1  # docs/redis-records.md says when to raise it
PATIENCE = 1.0  # seconds to wait for Redis, which is here to save a call of the database


class RedisCopies:
    """What lies under `challenges:FORMAT:VERSION`.

    A version says what the content is, so a copy is never wrong, only old. The format has its place in the key, so
    that a server neither reads nor overwrites the copy of one that writes another.
    """

    def __init__(self, redis: RedisServer, breaker: Breaker, *, ttl: timedelta, patience: float = PATIENCE) -> None:
        """A copy is forgotten after `ttl`."""
        self._redis = redis
        self._breaker = breaker
        self._ttl = ttl
        self._patience = patience
        self._format = TypeAdapter(tuple[Challenge, ...])
        self._last: tuple[bytes, Sequence[Challenge]] = (b"", ())

    async def get(self, version: str) -> Sequence[Challenge] | None:
        """Return the catalogue of that version; None if there is no copy that can be read, or no Redis."""
        kept = await self._ask(self._redis.client.get, _key(version))
        try:
            return self._parsed(kept) if kept else None
        except ValidationError:
            return None

    async def put(self, version: str, challenges: Sequence[Challenge]) -> None:
        """Keep a copy, if Redis is there."""
        await self._ask(self._redis.client.set, _key(version), self._format.dump_json(tuple(challenges)), px=self._ttl)

    def _parsed(self, kept: bytes) -> Sequence[Challenge]:
        # Most reads find what the one before found.
        if kept != self._last[0]:
            self._last = (kept, self._format.validate_json(kept))
        return self._last[1]

    async def _ask(self, command: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
        """Return the reply, or None if none came."""
        try:
            with self._breaker.guard(), self._redis.calling():
                async with asyncio.timeout(self._patience):
                    return await command(*arguments, **options)
        except (errors.Unavailable, TimeoutError):
            return None


def _key(version: str) -> str:
    return f"challenges:{FORMAT}:{version}"
