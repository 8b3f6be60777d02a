"""An engine that ends while the server runs, played by small programs, on a clock of the test's own."""

import asyncio
import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from wingmanmatch_server.drivers.embedded_process import Account, Engine, Home
from wingmanmatch_server.drivers.embedded_restart import OVERDUE_SECONDS, POLL_SECONDS, keep_running
from wingmanmatch_server.workers.backoff import Backoff

LIVES = "touch up; exec sleep 60"
FAILS = "echo the data are damaged; exit 3"


class Program(Engine):
    """A shell program for each start; the last one is used again and again. It answers if it is to."""

    title = "Program"
    name = "program"
    shutdown_signal = signal.SIGTERM

    def __init__(self, folder: Path, *programs: str | Exception) -> None:
        account = Account("ours", os.geteuid(), os.getegid())
        (folder / "log").mkdir()
        super().__init__(Home(folder, folder, account))
        self.programs = deque(programs)
        self.answers = True
        self._up = folder / "up"

    def steps(self) -> Iterable[Callable[[], subprocess.Popen[bytes]]]:
        """Take the next program."""
        self._up.unlink(missing_ok=True)
        program = self.programs.popleft() if len(self.programs) > 1 else self.programs[0]
        if isinstance(program, Exception):
            raise program
        return [lambda: self.spawn("/bin/sh", "-c", program)]

    def accepts_connections(self) -> bool:
        """Return whether the program is up, unless the test says that it does not answer."""
        return self.answers and self._up.exists()

    def kill(self) -> None:
        """Kill the process."""
        os.kill(self.pid, signal.SIGKILL)


class Time:
    """A clock that goes on by what is slept, and remembers all sleeps but those between two looks."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def clock(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the time pass, and in truth little of it."""
        self.now += seconds
        if seconds != POLL_SECONDS:
            self.waits.append(seconds)
        await asyncio.sleep(0.005)


@asynccontextmanager
async def kept(engine: Program) -> AsyncIterator[tuple[Time, list[Any]]]:
    """Keep an engine running that was started, and yield the clock and what is logged."""
    time = Time()
    while not engine.poll():
        await asyncio.sleep(0.005)
    with capture_logs() as logged:
        task = asyncio.create_task(keep_running(engine, Backoff(), sleep=time.sleep, clock=time.clock))
        try:
            async with asyncio.timeout(30):
                yield time, logged
                assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            engine.finish_stop(0.0)


async def logged_event(logged: list[Any], event: str, count: int = 1) -> list[Any]:
    """Return the first events of a kind once so many are logged."""
    while len(found := [line for line in logged if line["event"] == event]) < count:
        await asyncio.sleep(0.005)
    return found[:count]


async def test_killed_engine_is_started_again(tmp_path: Path) -> None:
    """Half a second after its end an engine is started again, and both are logged."""
    engine = Program(tmp_path, LIVES)
    async with kept(engine) as (time, logged):
        old = engine.pid
        engine.kill()
        await logged_event(logged, "engine_restarted")
        assert engine.pid != old
    assert time.waits == [0.5]
    ended, restarted = logged
    assert (ended["event"], ended["engine"], ended["status"]) == ("engine_ended", "Program", -signal.SIGKILL)
    assert (restarted["engine"], restarted["log_level"]) == ("Program", "warning")


async def test_failing_starts_are_tried_less_and_less_often(tmp_path: Path) -> None:
    """Damaged data are named in the log at each try, up to 30 s apart, for ever; the first good start ends it."""
    engine = Program(tmp_path, LIVES, *[FAILS] * 8, LIVES)
    async with kept(engine) as (time, logged):
        engine.kill()
        failures = await logged_event(logged, "engine_restart_failed", 8)
        await logged_event(logged, "engine_restarted")
    assert time.waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    for failure in failures:
        assert failure["reason"].startswith("Program stopped with status 3 instead of starting; its log is")
        # The end of the log, since the present try.
        assert failure["reason"].count("the data are damaged") == 1


async def test_minute_of_life_begins_anew(tmp_path: Path) -> None:
    """An engine that ends again at once is waited for twice as long; one that lived for a minute is not."""
    engine = Program(tmp_path, LIVES)
    async with kept(engine) as (time, logged):
        engine.kill()
        await logged_event(logged, "engine_restarted", 1)
        engine.kill()
        await logged_event(logged, "engine_restarted", 2)
        time.now += 60
        engine.kill()
        await logged_event(logged, "engine_restarted", 3)
    assert time.waits == [0.5, 1, 0.5]


async def test_second_kill_during_the_recovery(tmp_path: Path) -> None:
    """An engine that is killed before it answers again is started once more."""
    engine = Program(tmp_path, LIVES)
    async with kept(engine) as (time, logged):
        engine.answers = False
        engine.kill()
        while time.waits != [0.5] or engine.has_ended:
            await asyncio.sleep(0.005)
        engine.kill()
        await logged_event(logged, "engine_restart_failed")
        engine.answers = True
        await logged_event(logged, "engine_restarted")
    assert time.waits == [0.5, 1]


async def test_recovery_has_all_the_time_it_needs(tmp_path: Path) -> None:
    """An engine that recovers for minutes is not disturbed; the log says so every half minute."""
    engine = Program(tmp_path, LIVES)
    async with kept(engine) as (time, logged):
        engine.answers = False
        engine.kill()
        overdue = await logged_event(logged, "engine_restart_overdue", 4)
        pid = engine.pid
        engine.answers = True
        await logged_event(logged, "engine_restarted")
        assert engine.pid == pid
    assert time.now >= 1000 + 4 * OVERDUE_SECONDS
    assert overdue[0]["reason"].startswith("Program did not answer within 30 s")


@pytest.mark.parametrize("error", [PermissionError("secret"), KeyError("secret")])
async def test_unforeseen_error_does_not_end_it(tmp_path: Path, error: Exception) -> None:
    """Whatever goes wrong at a start is logged by its type, and the next try follows."""
    engine = Program(tmp_path, LIVES, error, LIVES)
    async with kept(engine) as (_, logged):
        engine.kill()
        (failure,) = await logged_event(logged, "engine_restart_failed")
        assert failure["reason"] == type(error).__name__
        await logged_event(logged, "engine_restarted")
