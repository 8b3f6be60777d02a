"""A supervisor whose workers misbehave: programs of the test that speak its protocol and little else."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from wingmanmatch_server.serving import longest_stop
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.workers.assignment import Assignment
from wingmanmatch_server.workers.process import Worker, WorkerFailed
from wingmanmatch_server.workers.supervisor import LATER, Supervisor

ASSIGNMENT = Assignment("127.0.0.1:50051", "unix:/nowhere", "unix:/nowhere-admin", None, "redis://localhost")
READ = "import json, pathlib, signal, sys, time\ngiven = json.loads(sys.stdin.readline())\n"
READY = "print(json.dumps({'grpc': given['grpc_listen']}), flush=True)\n"
UNTIL_STOPPED = "signal.sigwait([signal.SIGTERM, signal.SIGINT])\n"
BLOCKED = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])\n"


def worker_of(program: str, index: int = 0) -> Worker:
    """Return a worker whose process runs a program."""
    return Worker(index, ASSIGNMENT, command=(sys.executable, "-c", READ + program))


def supervisor_of(*workers: Worker, restarts: list[int] | None = None) -> Supervisor:
    """Return a supervisor as the server makes it."""
    note = restarts.append if restarts is not None else (lambda _index: None)
    return Supervisor(workers, note, longest_stop(Settings(_env_file=None)) + LATER)


async def stopped(supervisor: Supervisor) -> bool:
    """Run a supervisor until it has started all, stop it, and return what it says."""
    signals: asyncio.Queue[int] = asyncio.Queue()
    return await supervisor.run(signals, lambda _addresses: signals.put_nowait(signal.SIGTERM))


async def test_workers_that_obey() -> None:
    """Workers that start and stop as told are a good end."""
    good = BLOCKED + READY + UNTIL_STOPPED
    assert await stopped(supervisor_of(worker_of(good), worker_of(good, 1)))


@pytest.mark.slow
async def test_worker_that_never_answers() -> None:
    """A start that takes too long fails with a sentence, and leaves neither it nor the others running."""
    good, silent = worker_of(BLOCKED + READY + UNTIL_STOPPED), worker_of("time.sleep(600)", 1)
    with pytest.raises(WorkerFailed, match=r"^worker 1 \(127.0.0.1:50051\) did not answer within 60 s$"):
        await stopped(supervisor_of(good, silent))
    assert await silent.ended() == -signal.SIGKILL
    await good.ended()


async def test_worker_that_ends_at_once() -> None:
    """A start that ends fails with the status."""
    with pytest.raises(WorkerFailed, match=r"^worker 0 \(127.0.0.1:50051\) ended with status 3 before it answered$"):
        await stopped(supervisor_of(worker_of("sys.exit(3)")))


async def test_worker_that_keeps_ending(tmp_path: Path) -> None:
    """A worker that ends, also before it answers, is started again until it stays."""
    count = (
        f"place = pathlib.Path({str(tmp_path / 'starts')!r})\nplace.open('a').write('x')\nn = len(place.read_text())\n"
    )
    program = BLOCKED + count + "if n == 3: sys.exit(4)\n" + READY + "if n < 5: sys.exit(5)\n" + UNTIL_STOPPED
    restarts: list[int] = []
    signals: asyncio.Queue[int] = asyncio.Queue()
    worker = worker_of(program)
    running = asyncio.create_task(supervisor_of(worker, restarts=restarts).run(signals, lambda _addresses: None))
    async with asyncio.timeout(30):
        while len(restarts) < 4 or not worker.is_up:
            await asyncio.sleep(0.01)
    signals.put_nowait(signal.SIGTERM)
    assert await running
    assert restarts == [0] * 4


@pytest.mark.slow
async def test_worker_that_does_not_stop() -> None:
    """A worker that ignores the signal is killed in the end, and the end is not a good one."""
    supervisor = supervisor_of(worker_of(BLOCKED + READY + "time.sleep(600)"))
    assert not await stopped(supervisor)


async def test_signal_during_the_start() -> None:
    """A signal that comes before all workers answer ends the start, and the process with it."""
    signals: asyncio.Queue[int] = asyncio.Queue()
    announced: list[Sequence[str]] = []
    worker = worker_of("time.sleep(60)")
    running = asyncio.create_task(supervisor_of(worker).run(signals, announced.append))
    async with asyncio.timeout(10):
        while worker.pid is None:
            await asyncio.sleep(0.01)
        signals.put_nowait(signal.SIGTERM)
        assert await running
    assert announced == []
    assert await worker.ended() == -signal.SIGKILL


async def test_second_signal_is_passed_on() -> None:
    """Each signal reaches the workers, which decide what it means."""
    program = BLOCKED + READY + UNTIL_STOPPED + UNTIL_STOPPED
    signals: asyncio.Queue[int] = asyncio.Queue()

    def stop_twice(_addresses: Sequence[str]) -> None:
        signals.put_nowait(signal.SIGTERM)
        signals.put_nowait(signal.SIGINT)

    async with asyncio.timeout(10):
        assert await supervisor_of(worker_of(program)).run(signals, stop_twice)
