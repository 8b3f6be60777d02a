"""Fixtures of the cases: a server that a module's tests share, over each transport, at roomy rate limits."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.databases import fresh_database
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory, transport: str) -> Path:
    """The data folder of the module's server over one transport."""
    return tmp_path_factory.mktemp(transport)


@pytest.fixture(scope="module")
async def client(admin_dsn: str, engines: EmbeddedEngines, data_dir: Path, transport: str) -> AsyncIterator[Stubs]:
    """A client of the server."""
    limits = roomy_limits(data_dir)
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, engines.redis_url, data_dir, transport=transport, rate_limits_file=limits) as client,
    ):
        yield client
