"""A server that coaches, and the Claude that it asks."""

import importlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.claude_server import ClaudeServer, serving_claude
from support.databases import fresh_database
from support.requests import TIMEOUT
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import RedisServer, open_redis


@pytest.fixture(scope="module")
async def claude() -> AsyncIterator[ClaudeServer]:
    """The API that the module's server asks."""
    async with serving_claude() as claude:
        yield claude


@pytest.fixture(scope="module")
def _claude_address(claude: ClaudeServer) -> Iterator[None]:
    """Let the SDK find it, as it finds any other address, and import it before any call's deadline runs."""
    importlib.import_module("anthropic")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_BASE_URL", claude.url)
        yield


@pytest.fixture(scope="module")
def redis_url(engines: EmbeddedEngines) -> str:
    """A database of Redis that holds nothing but what these tests put there."""
    return f"{engines.redis_url}?db=9"


@pytest.fixture(scope="module")
async def redis(redis_url: str) -> AsyncIterator[RedisServer]:
    """The same database, to look inside."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushdb()
        yield redis


@pytest.fixture(scope="module")
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """The module's database."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def client(
    dsn: str,
    transport: str,
    redis: RedisServer,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    _claude_address: None,
) -> AsyncIterator[Stubs]:
    """A client of a server that coaches."""
    assert redis.client
    folder: Path = tmp_path_factory.mktemp("data")
    async with serving_application(
        dsn,
        redis_url,
        folder,
        transport=transport,
        rate_limits_file=roomy_limits(folder),
        anthropic_api_key="sk-ant-test",
        coaching_daily_tokens=20_000,
        coaching_max_output_tokens=1000,
    ) as client:
        yield client


@pytest.fixture(autouse=True)
async def _fresh(client: Stubs, claude: ClaudeServer) -> None:
    """Let no test meet the circuit or the answers that another left."""
    claude.script()
    await client.system.ResetCircuitBreaker(
        system_service_pb2.ResetCircuitBreakerRequest(name="external_api"), timeout=TIMEOUT
    )
