"""Fixtures of the tests of engines."""

from collections.abc import Iterator

import pytest

from support.valkey import oldest_program, own_valkey
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


@pytest.fixture(scope="session")
def oldest_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis 6.2."""
    server = oldest_program()
    if server is None:
        pytest.skip("there is no Redis 6.2 for this machine")
    with own_valkey(tmp_path_factory.mktemp("redis"), server) as redis:
        yield redis.url


@pytest.fixture(scope="session", params=["Valkey", "Redis 6.2"])
def any_redis_url(request: pytest.FixtureRequest, engines: EmbeddedEngines) -> str:
    """The URL of the newest engine, and of the oldest: what depends on it runs once with each."""
    if request.param == "Valkey":
        return engines.redis_url
    return str(request.getfixturevalue("oldest_redis_url"))
