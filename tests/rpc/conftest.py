"""Fixtures of the tests that call a whole server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.databases import fresh_database
from support.server import serving_application
from wingmanmatch_client import Client


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the module's server."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
async def client(admin_dsn: str, data_dir: Path) -> AsyncIterator[Client]:
    """A client of a server that a module's tests share."""
    async with fresh_database(admin_dsn) as dsn, serving_application(dsn, data_dir) as client:
        yield client
