"""Buckets for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from support.buckets import Bench, open_bench
from wingmanmatch_server.ratelimit import budget


@pytest.fixture
async def bench(any_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Buckets of a fresh subject under a clock that stands still, and more patience than a decision has.

    These tests are about numbers: a Redis that gets no processor for a moment must not look like one that is away.
    """
    monkeypatch.setattr(budget, "BUDGET", 5.0)
    async with open_bench(any_redis_url) as bench:
        yield bench
