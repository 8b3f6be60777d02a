"""What runs of every kind are made of: a server, areas of it with their callers, and what became of it all."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from support.history.callers import Caller, Scene
from support.history.judge import Report
from support.history.recorder import Recorder
from support.history.wire import Wire, tcp_wire
from support.served import Served, start
from support.stubs import Stubs

CALM = 1.0  # seconds before the first fault, and again once everything answers
RECOVERY = 90.0  # seconds after the last fault within which everything must answer
# A client that waits for seconds before it connects again would see little of a short run.
CHANNEL = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]


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

    async def recovered(self, recorder: Recorder) -> float:
        """Let the callers go on until they are answered and a while longer; return how many seconds that took."""
        began = recorder.now()
        await self.callers[0].until(self.answers)
        answered = recorder.now()
        await asyncio.sleep(CALM)
        self.over.set()
        return answered - began

    async def look(self) -> None:
        """Read all that was written."""
        reader = self.callers[0]
        reader.over = asyncio.Event()  # a read whose answer is lost waits for the area once more
        await self.scene.look(reader)


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
        """Return the run in one line. What ended INTERNAL is unknown to the models, and a mistake all the same."""
        internal = sum(count for status, count in self.statuses.items() if status.startswith("INTERNAL"))
        times = f"recovered {self.recovered:.1f} s  lasted {self.lasted:.1f} s"
        return f"seed {self.seed:<4} {self.report.line()}  INTERNAL {internal}  {times}"


@dataclass(frozen=True, slots=True)
class Serving:
    """A server as callers reach it: over connections that last, and over a wire that can be cut."""

    direct: Stubs
    fragile: Stubs
    wire: Wire


def add_area(
    areas: list[Area], scene: Scene, count: int, serving: Serving, recorder: Recorder, source: random.Random
) -> None:
    """Add an area with so many callers, of whom every other has a fragile connection; the first has none."""
    over, first = asyncio.Event(), sum(len(area.callers) for area in areas)
    sources = [random.Random(source.getrandbits(64)) for _ in range(count)]
    callers = [
        Caller(first + number, scene, serving.fragile if number % 2 else serving.direct, recorder, each, over)
        for number, each in enumerate(sources)
    ]
    areas.append(Area(scene, callers, over))


async def recovered(areas: list[Area], recorder: Recorder) -> float:
    """Return how many seconds it took until every area answered. Raises TimeoutError after `RECOVERY`."""
    async with asyncio.timeout(RECOVERY):
        return max(await asyncio.gather(*(area.recovered(recorder) for area in areas)))


@asynccontextmanager
async def serving(folder: Path, database_url: str, redis_url: str) -> AsyncIterator[Serving]:
    """Start a server as it is shipped, and end it in good order."""
    async with AsyncExitStack() as stack:
        log = stack.enter_context((folder / "log").open("w"))
        settings = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "DRAIN_DELAY": "0"}
        server = await asyncio.to_thread(start, folder / "server", log=log, **settings)
        stack.callback(_end, server)
        wire, fragile = await stack.enter_async_context(tcp_wire(server.grpc))
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(target, options=CHANNEL))
            for target in (server.grpc, fragile)
        ]
        yield Serving(Stubs(channels[0]), Stubs(channels[1]), wire)


def _end(server: Served) -> None:
    server.process.terminate()
    server.process.wait(30)
    if server.process.stdout:
        server.process.stdout.close()
