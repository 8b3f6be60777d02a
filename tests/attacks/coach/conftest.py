"""A server at the shipped limits, with credentials asked for, whose coach is off."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.credentials import SETTINGS
from support.databases import fresh_database
from support.server import serving_application
from support.stubs import Stubs
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


@pytest.fixture(scope="module")
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """The module's database."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def client(dsn: str, engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stubs]:
    """A client of the server."""
    folder: Path = tmp_path_factory.mktemp("data")
    async with serving_application(dsn, f"{engines.redis_url}?db=11", folder, **SETTINGS) as client:
        yield client
