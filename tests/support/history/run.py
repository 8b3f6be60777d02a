"""One run: a real server, callers, faults, recovery, and what the histories say."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from support.history.callers import Caller, Scene
from support.history.faults import LOSSY_WINDOW, Faults, HistoryPostgres, socket_of
from support.history.judge import Crashes, Report, judge
from support.history.limit_calls import LimitScene, policies_of
from support.history.match_calls import MatchScene, make_groups
from support.history.meetup_calls import MeetupScene, make_pairs
from support.history.recorder import Recorder
from support.history.session_calls import SessionScene
from support.history.wire import tcp_wire, unix_wire
from support.served import Served, start
from support.stubs import Stubs
from support.valkey import OwnValkey, own_valkey

CALLERS = (4, 2, 4, 4)  # of sessions, limits, matches, meetups: an outage of one area keeps no other's callers waiting
GROUPS, PAIRS = 12, 12
CALM = 1.0  # seconds before the first fault, and again once everything answers
RECOVERY = 90.0  # seconds after the last fault within which everything must answer
# A client that waits for seconds before it connects again would see little of a short run.
CHANNEL = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]

Sabotage = Callable[["World"], Coroutine[Any, Any, None]]


@dataclass
class Area:
    """What is called of one area of the server, who calls it, and when they stop."""

    scene: Scene
    callers: list[Caller]
    over: asyncio.Event

    @property
    def answers(self) -> Callable[[], Awaitable[bool]]:
        """Return whether the area is answered for."""
        return self.callers[0].answers

    async def look(self) -> None:
        """Read all that was written."""
        reader = self.callers[0]
        reader.over = asyncio.Event()  # a read whose answer is lost waits for the area once more
        await self.scene.look(reader)


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

    def add_callers(self, source: random.Random, direct: Stubs, fragile: Stubs) -> None:
        """Add every area's callers, of whom every other has a fragile connection; the first has none."""
        scenes: tuple[Scene, ...] = (self.sessions, self.limits, self.matches, self.meetups)
        for scene, count in zip(scenes, CALLERS, strict=True):
            over, first = asyncio.Event(), sum(len(area.callers) for area in self.areas)
            callers = [
                Caller(
                    first + number,
                    scene,
                    fragile if number % 2 else direct,
                    self.recorder,
                    random.Random(source.getrandbits(64)),
                    over,
                )
                for number in range(count)
            ]
            self.areas.append(Area(scene, callers, over))


@dataclass
class Result:
    """What became of a run; times in seconds."""

    seed: int
    report: Report
    faults: list[str]
    statuses: Counter[str]
    recovered: float
    lasted: float

    def line(self) -> str:
        """Return the run in one line."""
        return f"seed {self.seed:<4} {self.report.line()}  recovered {self.recovered:.1f} s  lasted {self.lasted:.1f} s"


async def run(
    seed: int, folder: Path, *, seconds: float = 12.0, faults: bool = True, sabotage: Sequence[Sabotage] = ()
) -> Result:
    """Call a new server for about so many seconds while the faults of a seed happen to it, and judge the histories.

    Each `sabotage` does its harm beside the callers. Raises TimeoutError if the server does not recover by itself.
    """
    began, source = time.monotonic(), random.Random(seed)
    async with open_world(source, folder) as world:
        live = [asyncio.create_task(each.live()) for area in world.areas for each in area.callers]
        harm = [asyncio.create_task(each(world)) for each in sabotage]
        await asyncio.sleep(CALM)
        await (world.faults.play(source, seconds) if faults else asyncio.sleep(seconds))
        async with asyncio.timeout(RECOVERY):
            recovered = max(await asyncio.gather(*(_recovery(world, area) for area in world.areas)))
        await asyncio.gather(*live, *harm)
        for area in world.areas:
            await area.look()
    crashes = Crashes(world.faults.crashes, LOSSY_WINDOW)
    report = judge(world.recorder.operations, world.limits.policies, crashes)
    lasted = time.monotonic() - began
    return Result(seed, report, world.faults.happened, world.recorder.statuses, recovered, lasted)


async def _recovery(world: World, area: Area) -> float:
    """Let an area's callers go on until they are answered again and a while longer; return how long that took."""
    began = world.recorder.now()
    await area.callers[0].until(area.answers)
    answered = world.recorder.now()
    await asyncio.sleep(CALM)
    area.over.set()
    return answered - began


def _ended(server: Served) -> None:
    """End a server in good order."""
    server.process.terminate()
    server.process.wait(30)
    if server.process.stdout:
        server.process.stdout.close()


@asynccontextmanager
async def open_world(source: random.Random, folder: Path) -> AsyncIterator[World]:
    """Start everything, with people in it."""
    async with AsyncExitStack() as stack:
        postgres = HistoryPostgres(folder / "postgres")
        await postgres.start_again()
        stack.callback(postgres.stop)
        postgres.dsn = postgres._engines.postgres_dsn
        valkey = stack.enter_context(own_valkey(folder))
        redis_wire = await stack.enter_async_context(unix_wire(socket_of(valkey), folder / "wire.sock"))
        log = stack.enter_context((folder / "log").open("w"))
        settings = {"DATABASE_URL": postgres.dsn, "REDIS_URL": f"unix://{folder / 'wire.sock'}", "DRAIN_DELAY": "0"}
        server = await asyncio.to_thread(start, folder / "server", log=log, **settings)
        stack.callback(_ended, server)
        client_wire, fragile = await stack.enter_async_context(tcp_wire(server.grpc))
        recorder = Recorder()
        direct, cut = [
            Stubs(await stack.enter_async_context(grpc.aio.insecure_channel(target, options=CHANNEL)))
            for target in (server.grpc, fragile)
        ]
        world = World(
            recorder,
            postgres,
            valkey,
            Faults(postgres, valkey, redis_wire, client_wire, recorder),
            SessionScene(),
            LimitScene(await policies_of(direct)),
            MatchScene(await make_groups(direct, source, GROUPS)),
            MeetupScene(await make_pairs(direct, source, PAIRS)),
        )
        world.add_callers(source, direct, cut)
        yield world
