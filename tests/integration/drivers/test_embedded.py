"""Starting, stopping and finding the embedded engines."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis

from support.engine_hosts import engine_host
from wingmanmatch_server.drivers.embedded import DataDirectoryInUse, EmbeddedEngines, EngineError
from wingmanmatch_server.drivers.embedded_process import take_lock

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder open to all, whose path leaves room for a socket."""
    path = Path(tempfile.mkdtemp(prefix="engines-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def used_folder() -> Iterator[Path]:
    """A data folder on which engines ran once."""
    with tempfile.TemporaryDirectory(prefix="engines-") as parent:
        folder = Path(parent) / "data"
        _run_once(folder)
        yield folder


def _run_once(folder: Path) -> None:
    with EmbeddedEngines(folder) as engines:
        engines.wait()


async def _fetch(engines: EmbeddedEngines, query: str) -> object:
    connection = await asyncpg.connect(engines.postgres_dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _ask(engines: EmbeddedEngines, *command: str) -> object:
    async with redis.from_url(engines.redis_url) as client:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]


def _is_free(lock: Path) -> bool:
    descriptor = take_lock(lock)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


async def test_data_survives_a_restart(used_folder: Path) -> None:
    """A row and a key are there after a stop and a start, by the same object."""
    engines = EmbeddedEngines(used_folder)
    with engines:
        engines.wait()
        await _fetch(engines, "create table kept as select 7 as value")
        await _ask(engines, "SET", "kept", "7")
    with engines:
        engines.wait()
        assert await _fetch(engines, "select value from kept") == 7
        assert await _ask(engines, "GET", "kept") == b"7"


async def test_interrupted_replacement_of_the_data_is_undone(used_folder: Path) -> None:
    """A start on a folder whose data were just being replaced finds the old ones, and makes no empty database."""
    with EmbeddedEngines(used_folder, valkey=False) as engines:
        engines.wait()
        await _fetch(engines, "create table replaced as select 8 as value")
    (used_folder / "postgres").rename(used_folder / "postgres.replaced")
    with EmbeddedEngines(used_folder, valkey=False) as engines:
        engines.wait()
        assert await _fetch(engines, "select value from replaced") == 8
    assert not (used_folder / "postgres.replaced").exists()


def test_second_start_is_quick(used_folder: Path) -> None:
    """On a folder in use before, both engines accept connections well within a second."""
    begin = time.monotonic()
    with EmbeddedEngines(used_folder) as engines:
        engines.wait()
        assert time.monotonic() - begin < 1.0


async def test_settings(used_folder: Path) -> None:
    """The servers are set up as a database for development: UTC, UTF-8, no TCP, durable, keys never evicted."""
    expected = {"timezone": "UTC", "server_encoding": "UTF8", "listen_addresses": "", "fsync": "on", "jit": "off"}
    with EmbeddedEngines(used_folder) as engines:
        engines.wait()
        for name, value in expected.items():
            assert await _fetch(engines, f"show {name}") == value
        assert await _fetch(engines, "select current_database() || lower('Ä')") == "wingmanmatchä"
        assert await _ask(engines, "CONFIG", "GET", "port") in ({b"port": b"0"}, [b"port", b"0"])
        assert "noeviction" in str(await _ask(engines, "CONFIG", "GET", "maxmemory-policy"))
        assert "everysec" in str(await _ask(engines, "CONFIG", "GET", "appendfsync"))


async def test_versions_are_those_of_the_running_servers(used_folder: Path) -> None:
    """What the banner shows is what the servers say."""
    with EmbeddedEngines(used_folder) as engines:
        engines.wait()
        assert engines.versions["PostgreSQL"] == await _fetch(engines, "show server_version")
        assert f"'valkey_version': '{engines.versions['Valkey']}'" in str(await _ask(engines, "INFO", "server"))


def test_stop_leaves_no_process_and_may_be_repeated(used_folder: Path) -> None:
    """After a stop neither the main processes nor any child of theirs are left."""
    with EmbeddedEngines(used_folder) as engines:
        engines.wait()
        pids = list(engines.pids.values())
        assert not _is_free(used_folder / "postgres.lock")
    engines.stop()
    assert [_is_free(used_folder / name) for name in ("lock", "postgres.lock", "valkey.lock")] == [True] * 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_second_server_on_one_folder_is_refused_at_once(used_folder: Path) -> None:
    """The refusal names the folder and the holder, whose engines go on undisturbed."""
    with engine_host(used_folder) as host:
        with pytest.raises(DataDirectoryInUse, match=str(used_folder)) as caught:
            EmbeddedEngines(used_folder).start()
        assert caught.value.pid == host.process.pid
        assert host.process.poll() is None
        os.kill(host.said["pids"]["Valkey"], 0)
    _run_once(used_folder)


def test_second_start_of_the_same_object(used_folder: Path) -> None:
    """To start what was started is a mistake that does not disturb the engines."""
    with EmbeddedEngines(used_folder) as engines:
        with pytest.raises(RuntimeError, match="started already"):
            engines.start()
        engines.wait()


async def test_one_engine_alone(short_path: Path) -> None:
    """Valkey alone makes no database, and the address of PostgreSQL is not known."""
    with EmbeddedEngines(short_path / "data", postgres=False) as engines:
        engines.wait()
        assert await _ask(engines, "PING") in (True, b"PONG")
        assert list(engines.pids) == ["Valkey"]
        with pytest.raises(LookupError):
            _ = engines.postgres_dsn
    assert not (short_path / "data" / "postgres").exists()


async def test_sockets_are_in_a_private_folder(used_folder: Path) -> None:
    """Nobody but the owner may enter the folder of the sockets; no other folder than the data folder is used."""
    with EmbeddedEngines(used_folder) as engines:
        engines.wait()
        run = used_folder / "run"
        assert {path.name for path in run.iterdir()} >= {".s.PGSQL.5432", "valkey.sock"}
        assert run.stat().st_mode & 0o777 == 0o700
        assert not (used_folder / "sockets").exists()


@pytest.mark.parametrize("name", ["a b  c", "per%20cent 'and' \"quotes\"", "comma,folder", "long" * 40])
async def test_unusual_paths(short_path: Path, name: str) -> None:
    """A path with spaces, quotes or a comma works, and one too long for a socket; no temporary folder is left."""
    with EmbeddedEngines(short_path / name) as engines:
        engines.wait()
        assert await _fetch(engines, "select 1") == 1
        assert await _ask(engines, "SET", "key", "value")
        link = short_path / name / "sockets"
        sockets = link.resolve() if link.is_symlink() else None
        assert (sockets is not None) == ("," in name or "long" in name)
    assert sockets is None or not sockets.exists()


def test_engine_that_does_not_start_says_why(short_path: Path) -> None:
    """The error holds the engine's own last words; the rest is stopped."""
    with EmbeddedEngines(short_path / "data", postgres=False) as engines:
        engines.wait()
    (short_path / "data" / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    engines = EmbeddedEngines(short_path / "data", postgres=False)
    with engines, pytest.raises(EngineError, match=r"Valkey stopped with status 1.*\n(.*\n)*.*Invalid AOF manifest"):
        engines.wait()
    assert _is_free(short_path / "data" / "valkey.lock")


def test_engines_do_not_see_our_environment(used_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret of ours is in the environment of an engine, and a PGPORT of ours does not confuse one."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc")
    monkeypatch.setenv("SUPABASE_SERVICE_KEY", "secret")
    monkeypatch.setenv("PGPORT", "1234")
    with EmbeddedEngines(used_folder) as engines:
        engines.wait()
        for pid in engines.pids.values():
            assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()


@needs_root
def test_root_below_closed_folders(short_path: Path) -> None:
    """Root's engines run as another user below folders that only root may enter, whose modes stay as they are."""
    closed = short_path / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedEngines(closed / "data") as engines:
        engines.wait()
        for pid in engines.pids.values():
            assert Path(f"/proc/{pid}").stat().st_uid != 0
    assert closed.stat().st_mode & 0o777 == 0o700


@needs_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_root_without_the_right_to_lend_search(short_path: Path) -> None:
    """Where root may not lend the right to pass closed folders, the closed one is named; an open one works."""
    (short_path / "closed").mkdir(mode=0o700)
    code = (
        "import pathlib, sys\n"
        "from wingmanmatch_server.drivers.embedded import EmbeddedEngines\n"
        "with EmbeddedEngines(pathlib.Path(sys.argv[1])) as engines: engines.wait()\n"
    )
    command = ["setpriv", "--bounding-set=-dac_read_search", sys.executable, "-c", code]
    for folder, works in (("closed/data", False), ("open/data", True)):
        result = subprocess.run([*command, short_path / folder], capture_output=True, text=True, check=False)
        assert (result.returncode == 0) == works, result.stderr
        assert works or f"may not enter {short_path / 'closed'}: choose a DATA_DIR" in result.stderr


@needs_root
def test_ordinary_user(short_path: Path) -> None:
    """An ordinary user's engines run as that user; later root is told whose folder it is."""
    with engine_host(short_path / "data", "--user", "daemon") as host:
        uids = {Path(f"/proc/{pid}").stat().st_uid for pid in host.said["pids"].values()}
    assert uids == {(short_path / "data").stat().st_uid}
    assert 0 not in uids
    with pytest.raises(EngineError, match="belongs to the user daemon"):
        EmbeddedEngines(short_path / "data").start()


@needs_root
def test_ordinary_user_on_the_folder_of_root(used_folder: Path) -> None:
    """An ordinary user is told that the folder is root's."""
    used_folder.parent.chmod(0o755)
    with engine_host(used_folder, "--user", "daemon") as host:
        assert host.said["kind"] == "EngineError"
        assert "belongs to the user root: choose another DATA_DIR" in host.said["error"]
