"""Servers as they are shipped, under callers that never stop."""

import asyncio
import os
import signal
import subprocess
import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from support.served import Served, start
from support.server import roomy_limits
from support.session_load import limit_request
from support.soak.watching import CHANGES, Health, held, samples, watching_health
from support.stubs import Stubs, open_stubs
from support.timeline import PACE, PATIENCE, READ, WRITE, Ended, Timeline, steady
from wingmanmatch.session.v1 import session_service_pb2

SESSION, LIMIT = "session", "limit"
DATABASE_CALLS, REDIS_CALLS = frozenset({READ, WRITE}), frozenset({SESSION, LIMIT})
CAPACITY = 1_000_000  # calls of one person, whose caller goes on for ten minutes
STOP = 30.0  # seconds; shipped are 3 to drain and 15 for calls under way


@dataclass
class Server:
    """One process, and what its callers and watchers saw."""

    served: Served
    client: Stubs
    health: Health
    timeline: Timeline = field(default_factory=Timeline)


@dataclass
class Site:
    """One server or several on the same dependencies."""

    stack: AsyncExitStack
    folder: Path
    servers: list[Server] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def first(self) -> Server:
        """The server that faults of one server are brought to."""
        return self.servers[0]

    def calls(self, since: float, until: float = float("inf")) -> list[Ended]:
        """Return the calls of all callers that ended in between."""
        return [call for server in self.servers for call in ended_between(server.timeline, since, until)]

    def failures(self, since: float, until: float = float("inf")) -> list[Ended]:
        """Return those of them that failed."""
        return [call for call in self.calls(since, until) if call.code != "OK"]

    async def changes(self) -> list[Counter[str]]:
        """Return for each server how often each of its breakers changed since it was started."""
        return [await self._changes_of(server) for server in self.servers]

    async def _changes_of(self, server: Server) -> Counter[str]:
        try:
            return await samples(server.served.metrics, CHANGES, "dependency")
        except OSError as error:
            self.broken.append(f"metrics do not answer: {error}")
            return Counter()

    def flips(self) -> list[Counter[str]]:
        """Return for each server how often the health of each service changed since it was started."""
        return [server.health.flips for server in self.servers]

    def held(self) -> list[tuple[float, int]]:
        """Return for each server its memory in MB and its open files."""
        return [held(server.served.process.pid) for server in self.servers]

    async def start(self, count: int = 1, *, log: bool = True, **settings: str) -> None:
        """Start servers with settings beside the shipped ones, and their callers; without `log` nobody reads theirs."""
        settings.setdefault("RATE_LIMITS_FILE", str(roomy_limits(self.folder, CAPACITY)))
        started = await asyncio.gather(*(self._start_one(number, log=log, **settings) for number in range(count)))
        for served in started:
            await self._add(served)

    async def _start_one(self, number: int, *, log: bool, **settings: str) -> Served:
        folder = self.folder / f"server-{number}"
        folder.mkdir()
        if not log:
            return await asyncio.to_thread(start, folder, **settings)
        with (folder / "said").open("w") as file:
            try:
                return await asyncio.to_thread(start, folder, log=file, **settings)
            except AssertionError as error:
                raise AssertionError((folder / "said").read_text()) from error

    async def _add(self, served: Served) -> None:
        self.stack.push_async_callback(self._stop, served)
        client = await self.stack.enter_async_context(open_stubs(served.grpc))
        health = await self.stack.enter_async_context(watching_health(client))
        server = Server(served, client, health)
        self.servers.append(server)
        await self.stack.enter_async_context(steady(server.timeline, [client], callers=1))
        await self.stack.enter_async_context(steady_sessions(server.timeline, client))

    async def _stop(self, served: Served) -> None:
        served.process.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.to_thread(served.process.wait, STOP)
        except subprocess.TimeoutExpired:
            os.killpg(served.process.pid, signal.SIGKILL)
            status = await asyncio.to_thread(served.process.wait)
        for stream in (served.process.stdout, served.process.stderr):
            if stream:
                stream.close()
        if status:
            self.broken.append(f"a server ended with status {status}")


def ended_between(timeline: Timeline, since: float, until: float) -> list[Ended]:
    """Return the calls that ended in between, without a look at all that ended in the minutes before."""
    first, last = (bisect_left(timeline.calls, moment, key=attrgetter("at")) for moment in (since, until))
    return timeline.calls[first:last]


@asynccontextmanager
async def steady_sessions(timeline: Timeline, client: Stubs) -> AsyncIterator[None]:
    """Let a caller use a session and a rate limit for the length of the context."""
    task = asyncio.create_task(_use_sessions(timeline, client))
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), ended


async def _use_sessions(timeline: Timeline, client: Stubs) -> None:
    person = session_service_pb2.CreateSessionRequest(user_id=str(uuid.uuid4()))
    token = (await client.session.CreateSession(person, timeout=PATIENCE)).token
    read = session_service_pb2.GetSessionRequest(token=token)
    write = session_service_pb2.UpdateSessionRequest(token=token, data={"a": "b"})
    while True:
        for kind, method, request in (
            (SESSION, client.session.GetSession, read),
            (SESSION, client.session.UpdateSession, write),
            (LIMIT, client.rate_limit.CheckRateLimit, limit_request()),
        ):
            await timeline.call(kind, method, request)
            await asyncio.sleep(PACE)
