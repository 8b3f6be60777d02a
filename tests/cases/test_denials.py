"""What is remembered of denials follows what happened to the bucket, on a real Redis."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.limiters import OpenLimiter, open_limiter
from support.valkey import own_valkey
from wingmanmatch_server.ratelimit.denials import LONGEST
from wingmanmatch_server.ratelimit.policies import MICROSECONDS

POLICIES = """
[policies.seven]
capacity = 7
refill_per_second = 0.3333333333
[policies.quick]
capacity = 6
refill_per_second = 40
[policies.hourly]
capacity = 1
refill_per_second = 0.000277
"""
ROUND_TRIP = 0.05  # seconds by which a remembered wait may be early: memory counts from before Redis was asked


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that these tests may empty."""
    with own_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture
async def two(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[OpenLimiter, OpenLimiter]]:
    """The limiters of two processes on one Redis."""
    file = tmp_path / "policies.toml"
    file.write_text(POLICIES)
    async with open_limiter(redis_url, file) as one, open_limiter(redis_url, file) as other:
        yield one, other


async def seconds_to_wait(limits: OpenLimiter, policy: str, subject: str, cost: int) -> float:
    """Spend, and return how many seconds the answer says to wait: 0 where it was allowed."""
    decision = await limits.check(policy, subject, cost)
    return max(decision.answers[0].retry, 0) / MICROSECONDS


async def test_an_allowed_spend_changes_what_is_remembered(two: tuple[OpenLimiter, OpenLimiter]) -> None:
    """2 of 7, then 7 (denied), then 5, then 7 again: nothing is left, and the wait is that of a whole bucket."""
    limits, subject = two[0], str(uuid.uuid4())
    assert await seconds_to_wait(limits, "seven", subject, 2) == 0
    assert 5.9 < await seconds_to_wait(limits, "seven", subject, 7) <= 6
    assert await seconds_to_wait(limits, "seven", subject, 5) == 0
    decision = await limits.check("seven", subject, 7)
    assert decision.answers[0].remaining == 0
    assert 20.9 < decision.answers[0].retry / MICROSECONDS <= 21.01


@pytest.mark.parametrize("seed", range(3))
async def test_no_wait_is_too_early(two: tuple[OpenLimiter, OpenLimiter], seed: int) -> None:
    """Two processes spend mixed costs of few buckets: each denial names the wait that the bucket itself names."""
    chance = random.Random(seed)
    subjects = [str(uuid.uuid4()) for _ in range(3)]
    denied = early = 0
    for _ in range(300):
        subject, cost = chance.choice(subjects), chance.choice([1, 1, 2, 3, 6])
        named = await seconds_to_wait(chance.choice(two), "quick", subject, cost)
        true = (await two[0].check("quick", subject, cost, peek=True)).answers[0].retry / MICROSECONDS
        denied += named > 0
        early += 0 < named < true - ROUND_TRIP
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.02]))
    assert (denied > 50, early) == (True, 0)


@pytest.mark.parametrize("loss", ["DEL", "FLUSHALL"])
async def test_a_bucket_that_is_deleted_is_full_within_seconds(two: tuple[OpenLimiter, OpenLimiter], loss: str) -> None:
    """Somebody who was denied for an hour passes soon after the bucket was deleted in Redis."""
    limits, subject = two[0], str(uuid.uuid4())
    assert await seconds_to_wait(limits, "hourly", subject, 1) == 0
    assert await seconds_to_wait(limits, "hourly", subject, 1) > 3000
    key = limits.limiter.resolve("hourly", subject, 1, "").key
    await limits.redis.client.execute_command(loss, *([key] if loss == "DEL" else []))
    async with asyncio.timeout(LONGEST + 3):
        while await seconds_to_wait(limits, "hourly", subject, 1):
            await asyncio.sleep(0.1)
