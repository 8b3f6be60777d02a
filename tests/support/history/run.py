"""One run: a real server, callers, faults, recovery, and what the histories say."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from support.history.callers import Caller, Scene
from support.history.faults import LOSSY_WINDOW, Faults, HistoryPostgres, socket_of
from support.history.judge import Crashes, Report, judge
from support.history.limit_bounds import Policy
from support.history.limit_calls import LimitScene, policies_of
from support.history.match_calls import MatchScene, make_groups
from support.history.meetup_calls import MeetupScene, make_pairs
from support.history.recorder import Recorder
from support.history.session_calls import SessionScene
from support.history.wire import tcp_wire, unix_wire
from support.served import start
from support.stubs import Stubs
from support.valkey import OwnValkey, own_valkey

CALLERS = 8
GROUPS, PAIRS = 12, 12
CALM = 1.0  # seconds before the first fault, and again once everything answers
RECOVERY = 120.0  # seconds after the last fault within which everything must answer
WEIGHTS = (4.0, 2.0, 3.0, 3.0)  # sessions, limits, matches, meetups
# A client that waits for seconds before it connects again would see little of a short run.
CHANNEL = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]

Sabotage = Callable[["World"], Awaitable[None]]


@dataclass
class World:
    """Everything that a run consists of."""

    recorder: Recorder
    valkey: OwnValkey
    faults: Faults
    policies: dict[str, Policy]
    sessions: SessionScene
    limits: LimitScene
    matches: MatchScene
    meetups: MeetupScene
    callers: list[Caller]

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """What callers do, in the order of `WEIGHTS`."""
        return self.sessions, self.limits, self.matches, self.meetups


@dataclass
class Result:
    """What became of a run; times in seconds."""

    seed: int
    report: Report
    faults: list[str]
    statuses: Counter[str]
    recovered: float
    lasted: float = 0.0
    notes: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the run in one line."""
        return f"seed {self.seed:<4} {self.report.line()}  recovered {self.recovered:.1f} s  lasted {self.lasted:.1f} s"


async def run(
    seed: int, folder: Path, *, seconds: float = 12.0, faults: bool = True, sabotage: Sabotage | None = None
) -> Result:
    """Call a new server for about so many seconds while the faults of a seed happen to it, and judge the histories.

    `sabotage` does its harm beside the callers. Raises TimeoutError if the server does not recover by itself.
    """
    began, source = time.monotonic(), random.Random(seed)
    async with open_world(source, folder) as world:
        live = [asyncio.create_task(each.live(world.scenes, WEIGHTS)) for each in world.callers]
        harm = asyncio.create_task(sabotage(world)) if sabotage else None
        await asyncio.sleep(CALM)
        await (world.faults.play(source, seconds) if faults else asyncio.sleep(seconds))
        recovered = await _recovery(world)
        await asyncio.sleep(CALM)
        world.callers[0].over.set()
        await asyncio.gather(*live, *((harm,) if harm else ()))
        await _look(world)
    crashes = Crashes(world.faults.crashes, LOSSY_WINDOW)
    report = judge(world.recorder.operations, world.policies, crashes)
    lasted = time.monotonic() - began
    return Result(seed, report, world.faults.happened, world.recorder.statuses, recovered, lasted)


async def _recovery(world: World) -> float:
    """Wait until everything answers; return how long that took."""
    began, caller = world.recorder.now(), world.callers[0]
    async with asyncio.timeout(RECOVERY):
        for answers in (caller.redis_answers, caller.database_answers, caller.limits_answer):
            await caller.until(answers)
    return world.recorder.now() - began


async def _look(world: World) -> None:
    """Read all that was written."""
    reader = world.callers[0]
    reader.over = asyncio.Event()
    for scene in world.scenes:
        await scene.look(reader)


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
        stack.callback(server.process.wait, 30)
        stack.callback(server.process.terminate)
        client_wire, fragile = await stack.enter_async_context(tcp_wire(server.grpc))
        recorder = Recorder()
        direct, cut = [
            Stubs(await stack.enter_async_context(grpc.aio.insecure_channel(target, options=CHANNEL)))
            for target in (server.grpc, fragile)
        ]
        yield World(
            recorder,
            valkey,
            Faults(postgres, valkey, redis_wire, client_wire, recorder),
            await policies_of(direct),
            SessionScene(),
            LimitScene(await policies_of(direct)),
            MatchScene(await make_groups(direct, source, GROUPS)),
            MeetupScene(await make_pairs(direct, source, PAIRS)),
            _callers(direct, cut, recorder, source),
        )


def _callers(direct: Stubs, cut: Stubs, recorder: Recorder, source: random.Random) -> list[Caller]:
    """Return callers of whom every other has a connection that breaks; the first has one that does not."""
    over = asyncio.Event()
    sources = [random.Random(source.getrandbits(64)) for _ in range(CALLERS)]
    return [
        Caller(number, cut if number % 2 else direct, recorder, each, over) for number, each in enumerate(sources)
    ]
