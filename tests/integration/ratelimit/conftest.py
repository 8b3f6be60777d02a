"""Buckets for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from support.buckets import Bench, open_bench
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


@pytest.fixture
async def bench(engines: EmbeddedEngines) -> AsyncIterator[Bench]:
    """Buckets of a fresh subject under a clock that stands still."""
    async with open_bench(engines.redis_url) as bench:
        yield bench
