"""One run: a real server, callers, faults, recovery, and what the histories say."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.history.areas import CALM, Area, Result, add_area, recovered, serving
from support.history.callers import Scene
from support.history.faults import EVERYSEC, LOSSY_WINDOWS, Faults, HistoryPostgres, own_postgres, own_valkey, socket_of
from support.history.judge import Crashes, judge
from support.history.limit_calls import LimitScene, policies_of
from support.history.match_calls import MatchScene, make_groups
from support.history.meetup_calls import MeetupScene, make_pairs
from support.history.recorder import Recorder
from support.history.session_calls import SessionScene
from support.history.wire import unix_wire
from support.valkey import OwnValkey

CALLERS = (4, 2, 4, 4)  # of sessions, limits, matches, meetups: an outage of one area keeps no other's callers waiting
GROUPS, PAIRS = 12, 12

Sabotage = Callable[["World"], Coroutine[Any, Any, None]]


@dataclass
class World:
    """Everything that a run consists of."""

    recorder: Recorder
    postgres: HistoryPostgres
    valkey: OwnValkey
    faults: Faults
    sessions: SessionScene
    limits: LimitScene
    matches: MatchScene
    meetups: MeetupScene
    areas: list[Area] = field(default_factory=list)

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """What callers do, in the order of `CALLERS`."""
        return self.sessions, self.limits, self.matches, self.meetups


async def run(
    seed: int,
    folder: Path,
    *,
    seconds: float = 12.0,
    fsync: str = EVERYSEC,
    faults: bool = True,
    sabotage: Sequence[Sabotage] = (),
) -> Result:
    """Call a new server for about so many seconds while the faults of a seed happen to it, and judge the histories.

    Where Valkey's log is synced `always` nothing excuses a loss; `everysec` may forget the latest in a kill, which is
    counted. Each `sabotage` does its harm beside the callers. Raises TimeoutError if the server does not recover by
    itself.
    """
    began, source = time.monotonic(), random.Random(seed)
    async with open_world(source, folder, fsync) as world:
        live = [asyncio.create_task(each.live()) for area in world.areas for each in area.callers]
        harm = [asyncio.create_task(each(world)) for each in sabotage]
        await asyncio.sleep(CALM)
        await (world.faults.play(source, seconds) if faults else asyncio.sleep(seconds))
        back_after = await recovered(world.areas, world.recorder)
        await asyncio.gather(*live, *harm)
        for area in world.areas:
            await area.look()
    window = LOSSY_WINDOWS[fsync]
    crashes = Crashes(world.faults.crashes, window) if window else Crashes()
    report = judge(world.recorder.operations, world.limits.policies, crashes)
    lasted = time.monotonic() - began
    return Result(seed, report, world.faults.happened, world.recorder.statuses, back_after, lasted)


@asynccontextmanager
async def open_world(source: random.Random, folder: Path, fsync: str) -> AsyncIterator[World]:
    """Start everything, with people in it."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(own_postgres(folder))
        valkey = stack.enter_context(own_valkey(folder, fsync))
        path = folder / "wire.sock"
        redis_wire = await stack.enter_async_context(unix_wire(socket_of(valkey), path))
        server = await stack.enter_async_context(serving(folder, postgres.dsn, f"unix://{path}"))
        recorder = Recorder()
        world = World(
            recorder,
            postgres,
            valkey,
            Faults(postgres, valkey, redis_wire, server.wire, recorder),
            SessionScene(),
            LimitScene(await policies_of(server.direct)),
            MatchScene(await make_groups(server.direct, source, GROUPS)),
            MeetupScene(await make_pairs(server.direct, source, PAIRS)),
        )
        for scene, count in zip(world.scenes, CALLERS, strict=True):
            add_area(world.areas, scene, count, server, recorder, source)
        yield world
