"""Servers at their shipped limits, which strangers reach by HTTP."""

from collections.abc import AsyncIterator, Iterator

import pytest

from support.databases import fresh_database
from support.http_target import Target, serving
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


@pytest.fixture(scope="package")
async def engines_of_target(admin_dsn: str, engines: EmbeddedEngines) -> AsyncIterator[dict[str, str]]:
    """A database of these tests' own, and Redis, as settings."""
    async with fresh_database(admin_dsn) as dsn:
        yield {"DATABASE_URL": dsn, "REDIS_URL": engines.redis_url}


@pytest.fixture(scope="package")
def target(engines_of_target: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server of one process."""
    with serving(tmp_path_factory.mktemp("target"), engines_of_target) as target:
        yield target


@pytest.fixture(scope="package")
def two_workers(engines_of_target: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server of two workers."""
    with serving(tmp_path_factory.mktemp("two"), {**engines_of_target, "WORKERS": "2"}) as target:
        yield target


@pytest.fixture(scope="package", params=["target", "two_workers"])
def either(request: pytest.FixtureRequest) -> Target:
    """Either of them: strangers must not see which."""
    found: Target = request.getfixturevalue(request.param)
    return found
