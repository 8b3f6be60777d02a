"""Fixtures of the tests of a Redis that answers and cannot serve."""

import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.databases import fresh_database
from support.valkey import OwnValkey, own_valkey


@pytest.fixture(autouse=True)
def abandoned_connections() -> Iterator[None]:
    """Collect the connections that redis-py leaves open to a node that went away, before another test is blamed."""
    yield
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    """A Valkey of the test's own."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    with own_valkey(folder) as valkey:
        yield valkey


@pytest.fixture
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """A database of the test's own."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn
