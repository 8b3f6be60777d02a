"""What a failover of Redis loses: acknowledged changes, which are counted, and nothing but the latest."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from support.history.failover import Redundant, run_failover
from support.history.judge import Finding
from support.history.redundant_redis import cluster_with_replica, watched_pair

Started = Callable[[Path], AbstractAsyncContextManager[Redundant]]


@pytest.mark.parametrize("redundant", [watched_pair, cluster_with_replica], ids=["sentinel", "cluster"])
async def test_replica_that_is_behind(tmp_path: Path, redundant: Started) -> None:
    """Where the replica has heard nothing for half a second, acknowledged changes of it are lost, and only those.

    So a failover is not linearizable, and that it is found out shows that the checker looks.
    """
    result = await run_failover(1, tmp_path, redundant(tmp_path), behind=0.5)
    lost = result.report.found(Finding.LOST)
    assert result.report.holds, result.report.text()
    assert [each for each in lost if each.key.startswith("session")], result.line()
    assert sum(each.lost for each in lost) > 0
