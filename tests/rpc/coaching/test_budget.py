"""A person's budget is a rate limit policy like any other, and holds where rate limits are off."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from support.claude_server import ClaudeServer
from support.coaching import ask, tokens_left
from support.server import serving_application
from support.stubs import Stubs
from wingmanmatch_server.drivers.redis import RedisServer

EVERYBODY = 5_000
NOBODYS, RICH, FREE, ANYBODY = (f"7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a00{number}" for number in range(4))
OVERRIDES = f"""
[[policies.coaching_tokens.overrides]]
subject = "{NOBODYS}"
capacity = 0
refill_per_second = 1.0
[[policies.coaching_tokens.overrides]]
subject = "{RICH}"
capacity = 50_000
refill_per_second = 1.0
[[policies.coaching_tokens.overrides]]
subject = "{FREE}"
unlimited = true
"""


@pytest.fixture(scope="module")
def transport() -> str:
    """The database has no part in this."""
    return "postgres"


@pytest.fixture(scope="module")
async def client(
    dsn: str, redis: RedisServer, redis_url: str, tmp_path_factory: pytest.TempPathFactory, _claude_address: None
) -> AsyncIterator[Stubs]:
    """A client of a server without rate limits, and with a file that gives some people another budget."""
    assert redis.client
    folder: Path = tmp_path_factory.mktemp("data")
    file = folder / "rate-limits.toml"
    file.write_text(OVERRIDES)
    settings = {"anthropic_api_key": "sk-ant-test", "coaching_daily_tokens": EVERYBODY}
    async with serving_application(
        dsn, redis_url, folder, rate_limits_file=file, enable_rate_limiting=False, **settings
    ) as client:
        yield client


@pytest.mark.parametrize(("person", "capacity"), [(RICH, 50_000), (ANYBODY, EVERYBODY)])
async def test_budget_is_the_policys(client: Stubs, person: str, capacity: int) -> None:
    """That of the person's override, or everybody's."""
    assert (await ask(client, person, "Hello")).error is None
    assert capacity - 960 < await tokens_left(client, person) < capacity - 940


async def test_budget_can_be_endless(client: Stubs) -> None:
    """Whoever pays by other means."""
    for _ in range(6):
        assert (await ask(client, FREE, "Hello")).error is None


async def test_budget_of_nothing_lets_nothing_pass(client: Stubs, claude: ClaudeServer) -> None:
    """And Claude is not asked."""
    told = await ask(client, NOBODYS, "Hello")
    assert (told.failure.code, told.failure.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "COACHING_BUDGET_SPENT",
    )
    assert claude.requests == []
