"""Fixtures of the tests of engines."""

from collections.abc import Iterator

import pytest

from support.valkey import installed_program, oldest_program, own_valkey
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

SERVERS = {"Redis 6.2": oldest_program()} | ({"installed Redis": found} if (found := installed_program()) else {})


@pytest.fixture(scope="session", params=["Valkey", *SERVERS])
def any_redis_url(
    request: pytest.FixtureRequest, engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of the newest engine, of the oldest, and of the machine's own: what depends on it runs once with each."""
    if request.param == "Valkey":
        yield engines.redis_url
        return
    server = SERVERS[request.param]
    if server is None:
        pytest.skip(f"there is no {request.param} on this machine")
    with own_valkey(tmp_path_factory.mktemp("redis"), server) as redis:
        yield redis.url
