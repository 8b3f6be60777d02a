"""Two replicas behind the real Envoy, with the sample configuration, restarted in turn under load: no call fails."""

from pathlib import Path

import pytest

from support.databases import fresh_database
from support.envoy import needs_envoy
from support.replicas import loaded, two_replicas
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

pytestmark = [needs_envoy, pytest.mark.timeout(180)]


async def test_rolling_restart(admin_dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """Six SIGTERMs, each followed by a new process, and every call of every caller is answered with OK."""
    async with (
        fresh_database(admin_dsn) as dsn,
        two_replicas(dsn, engines.redis_url, tmp_path) as (replicas, envoy),
        loaded(envoy) as load,
    ):
        for place in (0, 1, 0, 1, 0, 1):
            for replica in replicas:
                await replica.gets_calls()
            assert await replicas[place].terminate() == 0
            await replicas[place].start()
        for replica in replicas:
            await replica.gets_calls()
    assert load.failed == []
    assert load.done > 500
