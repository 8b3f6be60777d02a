"""Calls whose connection breaks while the database works on them: what may be repeated is, and nothing else."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from support.databases import open_database
from wingmanmatch_server import errors
from wingmanmatch_server.bootstrap.breakers import DATABASE_LIMITS, DATABASE_WRITES_LIMITS, RETRY_LIMITS
from wingmanmatch_server.drivers.database_shares import ShareLimits, Shares
from wingmanmatch_server.drivers.guarded_database import GuardedDatabase
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.resilience.retry import Retry

USER = str(uuid.UUID(int=7))
WAITING = """
    select pid from pg_catalog.pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'
"""


@asynccontextmanager
async def guarded(dsn: str, retried: list[str]) -> AsyncIterator[GuardedDatabase]:
    """Yield the database as the server has it; chance gives the shortest of the waits that there may be."""
    breaker = Breaker("database", DATABASE_LIMITS, time.monotonic)
    retry = Retry(RETRY_LIMITS["database"], breaker, time.monotonic, lambda: 0.0, on_retry=retried.append)
    async with open_database(dsn, "postgres") as database:
        writes = Breaker("database_writes", DATABASE_WRITES_LIMITS, time.monotonic)
        yield GuardedDatabase(database, breaker, writes, retry, Shares(ShareLimits()))


async def broken_off(dsn: str, call: Callable[[], Awaitable[object]]) -> object:
    """Return what becomes of a call whose server process is ended while it works."""
    admin = await asyncpg.connect(dsn)
    try:
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("lock table public.user_profiles, public.matches in access exclusive mode")
        task = asyncio.ensure_future(call())
        async with asyncio.timeout(10):
            while (pid := await admin.fetchval(WAITING)) is None:
                await asyncio.sleep(0.01)
        await admin.execute("select pg_catalog.pg_terminate_backend($1, 10000)", pid)
        await transaction.rollback()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
    finally:
        await admin.close()
    return outcome


async def test_read_is_repeated(fresh_database_dsn: str) -> None:
    """A read whose connection broke gets its answer from another connection."""
    retried: list[str] = []
    async with guarded(fresh_database_dsn, retried) as database:
        outcome = await broken_off(fresh_database_dsn, lambda: database.call("get_profile", p_user_id=USER))
    assert isinstance(outcome, errors.NotFound)
    assert retried == ["database"]


@pytest.mark.parametrize("with_id", [True, False])
async def test_mutation_is_repeated_only_by_its_id(fresh_database_dsn: str, with_id: bool) -> None:  # noqa: FBT001
    """A mutation with a request_id is sent again and has its answer; one without is left to the caller."""
    retried: list[str] = []
    profile = {
        "user_id": USER,
        "email": "ada@example.org",
        "first_name": "Ada",
        "experience_level": "BEGINNER",
        "confidence_archetype": "SCHOLAR",
        "location": {"latitude": 48.2, "longitude": 16.37},
    }
    request_id = str(uuid.UUID(int=8)) if with_id else None
    async with guarded(fresh_database_dsn, retried) as database:

        async def upsert() -> object:
            return await database.call("upsert_profile", p_profile=profile, p_request_id=request_id)

        outcome = await broken_off(fresh_database_dsn, upsert)
        if with_id:
            assert isinstance(outcome, dict)
            assert outcome["profile"]["first_name"] == "Ada"
            repeated = await upsert()
            assert isinstance(repeated, dict)
            assert repeated["profile"] == outcome["profile"]
        else:
            assert isinstance(outcome, errors.Unavailable)
    assert len(retried) == with_id
