"""Session stores on a real server, and a way to let time pass for what they hold."""

import random
import secrets
import time
from datetime import timedelta
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.resilience.breaker import Breaker, Limits
from wingmanmatch_server.resilience.retry import Retry, RetryLimits
from wingmanmatch_server.session.store import Session, SessionStore

HOUR = timedelta(hours=1)
MAX_AGE = timedelta(days=30)


def create_store(redis: RedisServer, max_age: timedelta = MAX_AGE) -> SessionStore:
    """Return a store as the server makes it."""
    breaker = Breaker("redis", Limits(3, 30.0), time.monotonic)
    retry = Retry(RetryLimits(attempts=2, base=0.5), breaker, time.monotonic, random.random)
    return SessionStore(redis, breaker, retry, max_age=max_age, random_bytes=secrets.token_bytes)


async def session_of(store: SessionStore, token: str) -> Session | None:
    """Return the session of a token, or None if it opens nothing."""
    try:
        return await store.get(token)
    except errors.Unauthenticated:
        return None


async def pass_time(redis: RedisServer, duration: timedelta) -> None:
    """Make everything that the database holds older, as if `duration` had passed."""
    milliseconds = duration // timedelta(milliseconds=1)
    for key in await redis.client.keys("session:*"):
        if b":token:" in key:
            for field in ("create_time", "update_time", "expire_time", "max_expire_time"):
                await redis.client.hincrby(key, field, -milliseconds)
        elif b":user:" in key:
            for member in await redis.client.zrange(key, 0, -1):
                await redis.client.zincrby(key, -milliseconds, member)
        await redis.client.pexpire(key, await redis.client.pttl(key) - milliseconds)


async def contents(redis: RedisServer) -> dict[bytes, Any]:
    """Return everything that the database holds, each value in the form of its type."""
    readers = {b"hash": redis.client.hgetall, b"zset": redis.client.zrange, b"string": redis.client.get}
    found = {}
    for key in await redis.client.keys("*"):
        kind = await redis.client.type(key)
        found[key] = await (readers[kind](key, 0, -1) if kind == b"zset" else readers[kind](key))
    return found
