"""The embedded engines when processes are killed, and what is left of them."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis

from support.engine_hosts import engine_host
from wingmanmatch_server.drivers.embedded import EmbeddedEngines, EngineError
from wingmanmatch_server.drivers.embedded_process import engine_account

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A data folder on which every test leaves engines that can start."""
    with tempfile.TemporaryDirectory(prefix="engines-") as parent:
        folder = Path(parent) / "data"
        with _running(folder):
            pass
        yield folder


@pytest.fixture
def new_folder() -> Iterator[Path]:
    """A data folder on which nothing ever ran."""
    with tempfile.TemporaryDirectory(prefix="engines-") as parent:
        yield Path(parent) / "data"


@contextmanager
def _running(folder: Path) -> Iterator[EmbeddedEngines]:
    with EmbeddedEngines(folder) as engines:
        engines.wait()
        yield engines


@contextmanager
def _stranger() -> Iterator[subprocess.Popen[bytes]]:
    account = engine_account()
    with subprocess.Popen(["sleep", "60"], user=None if account.is_ours else account.uid) as process:
        yield process
        process.kill()


async def _write(dsn: str, url: str, value: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table if not exists kept (value text)")
    await connection.execute("insert into kept values ($1)", value)
    await connection.close()
    async with redis.from_url(url) as client:
        await client.set(value, value)
        await client.waitaof(1, 0, 5000)


async def _is_written(engines: EmbeddedEngines, value: str) -> bool:
    connection = await asyncpg.connect(engines.postgres_dsn)
    rows = await connection.fetchval("select count(*) from kept where value = $1", value)
    await connection.close()
    async with redis.from_url(engines.redis_url) as client:
        return bool(rows == 1 and await client.get(value) == value.encode())


@contextmanager
def _frozen(pids: Iterable[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _wait_for_the_end(folder: Path) -> None:
    """Return when no process of any engine is left; the test's time limit bounds it."""
    for name in ("postgres.lock", "valkey.lock"):
        with (folder / name).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)


@linux_only
async def test_engines_end_in_good_order_with_a_killed_parent(folder: Path) -> None:
    """After kill -9 of the parent both engines shut down by themselves; what was written is there at the next start."""
    log = folder / "log" / "postgres.log"
    before = log.stat().st_size
    with engine_host(folder) as host:
        await _write(host.said["dsn"], host.said["url"], "parent killed")
        host.kill()
        _wait_for_the_end(folder)
    said = log.read_text()[before:]
    assert "received fast shutdown request" in said
    assert said.rstrip().endswith("database system is shut down")
    with _running(folder) as engines:
        assert await _is_written(engines, "parent killed")


@linux_only
async def test_start_waits_for_a_predecessor_that_is_shutting_down(folder: Path) -> None:
    """While the old engines still run, a start waits within its bound and says for whom; then it goes on."""
    with engine_host(folder) as host:
        await _write(host.said["dsn"], host.said["url"], "slow end")
        old = host.said["pids"]
        with _frozen(old.values()):
            host.kill()
            engines = EmbeddedEngines(folder)
            engines.start()
            with pytest.raises(EngineError, match=rf"earlier PostgreSQL \(process {old['PostgreSQL']}\) still runs"):
                engines.wait(timeout=0.2)
        try:
            engines.wait()
            assert await _is_written(engines, "slow end")
        finally:
            engines.stop()


async def test_next_start_ends_orphans(folder: Path) -> None:
    """Where a system does not end children with their parent, the next start ends them in good order first."""
    with engine_host(folder, "--untied") as host:
        await _write(host.said["dsn"], host.said["url"], "orphans")
        host.kill()
        for pid in host.said["pids"].values():
            os.kill(pid, 0)
        with _running(folder) as engines:
            assert await _is_written(engines, "orphans")
            assert not set(engines.pids.values()) & set(host.said["pids"].values())


async def test_killed_engines_recover(folder: Path) -> None:
    """After kill -9 of both engines a stop is quick and the next start has all that was acknowledged."""
    with _running(folder) as engines:
        await _write(engines.postgres_dsn, engines.redis_url, "engines killed")
        for pid in engines.pids.values():
            os.kill(pid, signal.SIGKILL)
    with _running(folder) as engines:
        assert await _is_written(engines, "engines killed")


async def test_stale_pid_files_that_name_a_stranger(folder: Path) -> None:
    """PostgreSQL starts though the pid left by a killed one belongs to another process of its user, which lives on."""
    with _running(folder) as engines:
        await _write(engines.postgres_dsn, engines.redis_url, "stranger")
        pid = engines.pids["PostgreSQL"]
        os.kill(pid, signal.SIGKILL)
    with _stranger() as stranger:
        for path in (folder / "postgres" / "postmaster.pid", folder / "run" / ".s.PGSQL.5432.lock"):
            path.write_text(path.read_text().replace(str(pid), str(stranger.pid), 1))
        with _running(folder) as engines:
            assert await _is_written(engines, "stranger")
        assert stranger.poll() is None


def test_interrupt_of_the_terminal_spares_the_engines(folder: Path) -> None:
    """Ctrl-C, which the terminal sends to the whole process group, reaches the server but not its engines."""
    log = folder / "log" / "postgres.log"
    before = log.stat().st_size
    with engine_host(folder) as host:
        groups = {os.getpgid(pid) for pid in host.said["pids"].values()}
        assert host.process.pid not in groups
        assert host.interrupt_group() == "interrupted"
        for pid in host.said["pids"].values():
            os.kill(pid, 0)
        assert "shutdown" not in log.read_text()[before:]


async def test_killed_initdb_leaves_nothing_that_looks_initialised(new_folder: Path) -> None:
    """A first start whose initdb is killed fails, and the one after it begins anew."""
    with EmbeddedEngines(new_folder) as engines:
        os.kill(engines.pids["PostgreSQL"], signal.SIGKILL)
        with pytest.raises(EngineError, match="PostgreSQL stopped with status -9"):
            engines.wait()
    assert not (new_folder / "postgres").exists()
    with _running(new_folder) as engines:
        await _write(engines.postgres_dsn, engines.redis_url, "anew")


@linux_only
async def test_parent_killed_during_the_first_start(new_folder: Path) -> None:
    """A first start after one whose parent was killed half-way works, though that initdb may still be dying."""
    with engine_host(new_folder, "--only-start") as host:
        host.kill()
        assert not (new_folder / "postgres").exists()
        with _running(new_folder) as engines:
            await _write(engines.postgres_dsn, engines.redis_url, "half-way")
    assert not (new_folder / "postgres.unfinished").exists()


@linux_only
def test_socket_folder_of_a_killed_parent_is_removed(new_folder: Path) -> None:
    """The temporary folder for sockets that a killed process left is gone after the next start."""
    folder = new_folder / ("long" * 40)
    with engine_host(folder) as host:
        left = (folder / "sockets").resolve()
        host.kill()
        assert left.is_dir()
        with _running(folder):
            assert not left.exists()


def test_start_beside_threads_that_hold_locks(folder: Path) -> None:
    """Engines start while gRPC's threads run, in a process where code between fork and exec would wait for ever."""
    code = (
        "import asyncio, pathlib, sys, grpc\n"
        "from wingmanmatch_server.drivers.embedded import EmbeddedEngines\n"
        "async def main():\n"
        "    server = grpc.aio.server()\n"
        "    port = server.add_insecure_port('127.0.0.1:0')\n"
        "    await server.start()\n"
        "    async with grpc.aio.insecure_channel(f'127.0.0.1:{port}') as channel:\n"
        "        await channel.channel_ready()\n"
        "        with EmbeddedEngines(pathlib.Path(sys.argv[1])) as engines: engines.wait()\n"
        "    await server.stop(0)\n"
        "asyncio.run(main())\n"
    )
    # gRPC's core reports, at times, how a connection ended.
    environment = os.environ | {"GRPC_VERBOSITY": "ERROR"}
    command = [sys.executable, "-c", code, folder]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (completed.returncode, completed.stderr) == (0, "")


@pytest.mark.slow
def test_stopped_engine_is_killed_in_the_end(folder: Path) -> None:
    """An engine that does not react is killed when the time for a good end is over."""
    with _running(folder) as engines:
        pids = list(engines.pids.values())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    _wait_for_the_end(folder)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
