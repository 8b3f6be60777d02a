"""Challenges on a database that the tests of a module share, over each transport."""

from collections.abc import AsyncIterator

import pytest

from support.challenges import Challenges, open_challenges


@pytest.fixture(scope="module")
async def challenges(admin_dsn: str, transport: str) -> AsyncIterator[Challenges]:
    """Whoever is there: for tests that look at their own people only."""
    async with open_challenges(admin_dsn, transport) as challenges:
        yield challenges
