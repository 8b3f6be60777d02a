"""Buckets for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from support.buckets import Bench, open_bench


@pytest.fixture
async def bench(any_redis_url: str) -> AsyncIterator[Bench]:
    """Buckets of a fresh subject under a clock that stands still."""
    async with open_bench(any_redis_url) as bench:
        yield bench
