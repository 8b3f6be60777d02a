"""People on a database that the tests of a module share."""

import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.databases import fresh_database, open_database
from support.meetups import Pair
from support.people import People, emptied, open_people
from wingmanmatch_server.matching.store import MatchingStore


@pytest.fixture(scope="module")
async def people(admin_dsn: str, transport: str) -> AsyncIterator[People]:
    """Whoever is there, over each transport: for tests that look only at their own people."""
    async with fresh_database(admin_dsn) as dsn, open_database(dsn, transport) as database:
        sql = await asyncpg.connect(dsn)
        try:
            yield People(MatchingStore(database, max_daily_matches=100), sql, random.Random(7))
        finally:
            await sql.close()


@pytest.fixture(scope="module")
async def shared_crowd(admin_dsn: str) -> AsyncIterator[People]:
    """The same for very many callers at once."""
    async with fresh_database(admin_dsn) as dsn, open_people(dsn, connections=40, max_daily_matches=100) as people:
        yield people


@pytest.fixture
async def crowd(shared_crowd: People) -> People:
    """Nobody yet, and room for very many callers at once."""
    return await emptied(shared_crowd)


@pytest.fixture
async def two(people: People) -> Pair:
    """Two new people and their accepted match."""
    return Pair(people, await people.match(*await people.join_many(2)))
