"""The server's own engines are killed while callers call it."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil
import pytest
from structlog.testing import capture_logs

from support.served import Served, served
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch.session.v1 import session_service_pb2, session_service_pb2_grpc
from wingmanmatch_server.bootstrap.background import background
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.workers.backoff import Backoff

PROGRAMS = {"PostgreSQL": "postgres", "Valkey": "valkey-server"}
PACE = 0.05  # seconds between two calls of one caller
RECOVERY = 20.0  # seconds: a start of an engine on a busy machine, and what its clients need to find it
STOP = 20.0  # seconds: nothing drains and no call is under way
STEADY = 20  # calls in a row that succeed


@dataclass
class Caller:
    """Calls again and again, and remembers what was acknowledged."""

    call: Callable[[str], Awaitable[object]]
    acknowledged: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    in_a_row: int = 0

    async def run(self) -> None:
        """Call until cancelled."""
        while True:
            user_id = str(uuid.uuid4())
            try:
                await self.call(user_id)
            except grpc.aio.AioRpcError as error:
                self.failures.append(error.code().name)
                self.in_a_row = 0
            else:
                self.acknowledged.append(user_id)
                self.in_a_row += 1
            await asyncio.sleep(PACE)

    async def is_steady(self) -> None:
        """Return once so many of the calls that follow succeeded in a row."""
        self.in_a_row = 0
        async with asyncio.timeout(RECOVERY):
            while self.in_a_row < STEADY:
                await asyncio.sleep(PACE)


class Callers:
    """One caller of the database, one of Redis, at a server's first address."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._matching = matching_service_pb2_grpc.MatchingServiceStub(channel)
        self._session = session_service_pb2_grpc.SessionServiceStub(channel)
        self.of = {"PostgreSQL": Caller(self._write_profile), "Valkey": Caller(self._create_session)}

    async def _write_profile(self, user_id: str) -> None:
        profile = matching_pb2.Profile(
            user_id=user_id,
            email=f"{user_id}@example.org",
            first_name="Ada",
            experience_level=matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
            confidence_archetype=matching_pb2.CONFIDENCE_ARCHETYPE_SCHOLAR,
            location={"latitude": 48.2, "longitude": 16.37},
        )
        request = matching_service_pb2.UpsertProfileRequest(profile=profile, request_id=str(uuid.uuid4()))
        await self._matching.UpsertProfile(request, timeout=5)

    async def _create_session(self, user_id: str) -> None:
        await self._session.CreateSession(session_service_pb2.CreateSessionRequest(user_id=user_id), timeout=5)

    async def missing_profiles(self) -> list[str]:
        """Return the acknowledged profiles that are not there."""
        missing = []
        for user_id in self.of["PostgreSQL"].acknowledged:
            try:
                await self._matching.GetProfile(matching_service_pb2.GetProfileRequest(user_id=user_id), timeout=5)
            except grpc.aio.AioRpcError as error:
                missing.append(f"{user_id} {error.code().name}")
        return missing


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[Callers]:
    """Yield callers that call throughout."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_retries", 0)]) as channel:
        callers = Callers(channel)
        tasks = [asyncio.create_task(caller.run()) for caller in callers.of.values()]
        try:
            yield callers
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=[1, 2], ids=lambda workers: f"workers_{workers}")
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A server with engines of its own, whose log is the file `log`."""
    settings = {"LOG_FORMAT": "json", "ENABLE_RATE_LIMITING": "false", "DRAIN_DELAY": "0"}
    settings["WORKERS"] = str(request.param)
    with (
        (tmp_path / "log").open("w") as log,
        served(tmp_path / "data", log=log, **settings) as started,
    ):
        yield started


def _engine(server: Served, title: str) -> psutil.Process | None:
    """Return the main process of an engine, None while there is none."""
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if child.name() == PROGRAMS[title] and child.status() != psutil.STATUS_ZOMBIE:
                return child
    return None


async def _next_engine(server: Served, title: str, old: psutil.Process) -> psutil.Process:
    """Return the engine's new process once there is one."""
    async with asyncio.timeout(RECOVERY):
        while (found := _engine(server, title)) is None or found == old:
            await asyncio.sleep(0.01)
    return found


async def _events(folder: Path, event: str, engine: str, count: int) -> list[dict[str, object]]:
    """Return the log's lines of an event of an engine once there are so many."""
    async with asyncio.timeout(RECOVERY):
        while True:
            lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
            found = [line for line in lines if line["event"] == event and line["engine"] == engine]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("engine", PROGRAMS)
async def test_killed_engine_comes_back(server: Served, tmp_path: Path, engine: str) -> None:
    """An engine that is killed under calls, and again while it recovers, is started again at its address.

    Nobody but its callers notices, nothing that was acknowledged in the database is lost, and no restart is needed.
    """
    address = server.grpc
    async with calling(address) as callers:
        own = callers.of[engine]
        (other,) = (caller for title, caller in callers.of.items() if title != engine)
        await own.is_steady()
        process = _engine(server, engine)
        assert process
        process.send_signal(signal.SIGKILL)
        (await _next_engine(server, engine, process)).send_signal(signal.SIGKILL)
        assert len(await _events(tmp_path, "engine_ended", engine, 2)) == 2
        await _events(tmp_path, "engine_restarted", engine, 1)
        await own.is_steady()
        await other.is_steady()
        assert set(own.failures) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
        assert other.failures == []
    async with calling(address) as again:
        await again.of[engine].is_steady()
        assert again.of[engine].failures == []
    async with grpc.aio.insecure_channel(address) as channel:
        kept = Callers(channel)
        kept.of["PostgreSQL"].acknowledged = callers.of["PostgreSQL"].acknowledged
        assert await kept.missing_profiles() == []


async def test_stop_while_engines_are_away(server: Served) -> None:
    """SIGTERM right after both engines were killed ends the server with status 0, and leaves no engine behind."""
    for title in PROGRAMS:
        process = _engine(server, title)
        assert process
        process.send_signal(signal.SIGKILL)
    children = psutil.Process(server.process.pid).children(recursive=True)
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, STOP) == 0
    _, alive = psutil.wait_procs(children, timeout=STOP)
    assert alive == []


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedEngines]:
    """A PostgreSQL of the test's own."""
    with EmbeddedEngines(tmp_path, valkey=False) as engines:
        engines.wait()
        yield engines


@asynccontextmanager
async def kept(engines: EmbeddedEngines) -> AsyncIterator[list[Any]]:
    """Keep engines running as the server does, and yield what is logged."""
    with capture_logs() as logged:
        async with background(engines.keep_running(Backoff)), asyncio.timeout(30):
            yield logged


async def _logged(logged: list[Any], event: str, count: int) -> list[Any]:
    """Return what was logged of an event once there is so much."""
    while len(found := [line for line in logged if line["event"] == event]) < count:
        await asyncio.sleep(0.05)
    return found


async def test_damaged_data(postgres: EmbeddedEngines, tmp_path: Path) -> None:
    """Damaged data fail each start with PostgreSQL's own words in the log; repaired, they serve without a restart."""
    control = tmp_path / "postgres" / "global" / "pg_control"
    async with kept(postgres) as logged:
        good = control.read_bytes()
        os.kill(postgres.pids["PostgreSQL"], signal.SIGKILL)
        control.write_bytes(bytes(len(good)))
        failures = await _logged(logged, "engine_restart_failed", 2)
        for failure in failures:
            assert "PostgreSQL stopped with status 1 instead of starting" in failure["reason"]
            assert "database files are incompatible with server" in failure["reason"]
        waits = [line["restart_in_seconds"] for line in await _logged(logged, "engine_ended", 3)]
        assert waits == [0.5, 1, 2]
        control.write_bytes(good)
        await _logged(logged, "engine_restarted", 1)
    connection = await asyncpg.connect(postgres.postgres_dsn)
    assert await connection.fetchval("select 1") == 1
    await connection.close()


async def test_data_that_vanish_are_not_replaced_by_none(postgres: EmbeddedEngines, tmp_path: Path) -> None:
    """Where the data folder is gone no empty database takes its place: the log says so until it is back."""
    data, elsewhere = tmp_path / "postgres", tmp_path / "elsewhere"
    async with kept(postgres) as logged:
        os.kill(postgres.pids["PostgreSQL"], signal.SIGKILL)
        data.rename(elsewhere)
        (failure, *_) = await _logged(logged, "engine_restart_failed", 1)
        assert failure["reason"] == f"{data} has vanished: restore a backup while the server is stopped."
        elsewhere.rename(data)
        await _logged(logged, "engine_restarted", 1)
