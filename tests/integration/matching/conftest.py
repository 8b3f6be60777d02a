"""People on a database that the tests of a module share."""

from collections.abc import AsyncIterator

import pytest

from support.databases import fresh_database
from support.people import People, emptied, open_people


@pytest.fixture(scope="module")
async def shared(admin_dsn: str) -> AsyncIterator[People]:
    """Whoever is there: for tests that look only at their own people, or leave nobody behind."""
    async with fresh_database(admin_dsn) as dsn, open_people(dsn) as people:
        yield people


@pytest.fixture(scope="module")
async def shared_crowd(admin_dsn: str) -> AsyncIterator[People]:
    """The same for very many callers at once."""
    async with fresh_database(admin_dsn) as dsn, open_people(dsn, connections=60) as people:
        yield people


@pytest.fixture
async def people(shared: People) -> People:
    """Nobody yet."""
    return await emptied(shared)


@pytest.fixture
async def crowd(shared_crowd: People) -> People:
    """Nobody yet, and room for very many callers at once."""
    return await emptied(shared_crowd)
