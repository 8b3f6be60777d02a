"""Fixtures of the tests that call a whole server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.databases import fresh_database
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.ratelimit import budget


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    # A Redis that gets no processor for a moment must not look like one that is away.
    monkeypatch.setattr(budget, "BUDGET", 5.0)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory, transport: str) -> Path:
    """The data folder of the module's server over one transport."""
    return tmp_path_factory.mktemp(transport)


@pytest.fixture(scope="module")
async def client(admin_dsn: str, engines: EmbeddedEngines, data_dir: Path, transport: str) -> AsyncIterator[Stubs]:
    """A client of a server that a module's tests share; each test runs once for each transport."""
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(
            dsn, engines.redis_url, data_dir, transport=transport, rate_limits_file=roomy_limits(data_dir)
        ) as client,
    ):
        yield client
