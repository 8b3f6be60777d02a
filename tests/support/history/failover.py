"""Runs in which a Redis with replicas fails over, to count what its asynchronous replication loses."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from support.history.areas import CALM, Area, Result, add_area, recovered, serving
from support.history.faults import own_postgres
from support.history.judge import Crashes, judge
from support.history.limit_calls import LimitScene, policies_of
from support.history.losses import CRASH
from support.history.operations import Operation, Outcome
from support.history.recorder import Recorder
from support.history.session_calls import SessionScene

CALLERS = 4
# No bound is promised for how far a replica is behind; this is more than a run lasts.
WINDOW = 600.0


class Redundant(Protocol):
    """A Redis with replicas."""

    url: str

    async def cut_replication(self) -> None:
        """Keep the replicas from hearing of what is written from now on."""
        ...

    async def fail_over(self) -> None:
        """Kill a primary and return once its replica has taken its place."""
        ...


async def run_failover(
    seed: int, folder: Path, redundant: AbstractAsyncContextManager[Redundant], *, behind: float
) -> Result:
    """Use sessions and limits of a new server on a Redis that fails over, its replica so many seconds behind."""
    began, source, recorder = time.monotonic(), random.Random(seed), Recorder()
    async with redundant as servers, _areas(folder, servers.url, source, recorder) as areas:
        live = [asyncio.create_task(each.live()) for area in areas for each in area.callers]
        await asyncio.sleep(2 * CALM)
        crash = await _failed_over(servers, recorder, behind)
        back_after = await recovered(areas, recorder)
        await asyncio.gather(*live)
        for area in areas:
            await area.look()
        limits = areas[1].scene
        assert isinstance(limits, LimitScene)
    report = judge(recorder.operations, limits.policies, Crashes([crash], WINDOW))
    happened = [f"{crash.start:7.3f} to {crash.end:7.3f}  failover"]
    return Result(seed, report, happened, recorder.statuses, back_after, time.monotonic() - began)


async def _failed_over(servers: Redundant, recorder: Recorder, behind: float) -> Operation:
    if behind:
        await servers.cut_replication()
        await asyncio.sleep(behind)
    start = recorder.now()
    await servers.fail_over()
    return Operation(0, "", CRASH, start, recorder.now(), Outcome.OK)


@asynccontextmanager
async def _areas(folder: Path, redis_url: str, source: random.Random, recorder: Recorder) -> AsyncIterator[list[Area]]:
    async with own_postgres(folder) as postgres, serving(folder, postgres.dsn, redis_url) as server:
        areas: list[Area] = []
        for scene in (SessionScene(), LimitScene(await policies_of(server.direct))):
            add_area(areas, scene, CALLERS, server, recorder, source)
        yield areas
