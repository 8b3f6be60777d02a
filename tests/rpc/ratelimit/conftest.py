"""A server with the built-in limits."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.databases import fresh_database
from support.limiters import Served, serving_limits
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

LIMITS = """
[policies.returning]
capacity = 1
refill_per_second = 4
"""


@pytest.fixture(scope="module")
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """A database for a module's servers."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def served(dsn: str, engines: EmbeddedEngines, data_dir: Path) -> AsyncIterator[Served]:
    """A server that a module's tests share."""
    file = data_dir / "limits.toml"
    file.write_text(LIMITS)
    async with serving_limits(dsn, engines.redis_url, data_dir, rate_limits_file=file) as served:
        yield served


@pytest.fixture
def subject() -> str:
    """Somebody whose buckets are full; a UUID."""
    return str(uuid.uuid4())
