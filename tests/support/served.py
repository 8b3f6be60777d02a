"""The `wingmanmatch serve` command as a person runs it, in a process group of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

BIN = Path(sys.executable).parent
INSTALLED = (str(BIN / "wingmanmatch"),)
STARTED = "Ctrl-C stops everything."


class Served:
    """A started server: what it said, and where it answers."""

    def __init__(self, process: "subprocess.Popen[str]", said: str) -> None:
        self.process = process
        self.said = said
        self.grpc = self._find(r"gRPC +(\S+)")
        self.metrics = self._find(r"metrics +(\S+)")
        self.admin = self.metrics.removesuffix("/metrics")

    @property
    def http(self) -> str:
        """The public HTTP address, as a URL without a path."""
        return self._find(r"HTTP +(\S+)")

    def _find(self, pattern: str) -> str:
        found = re.search(pattern, self.said)
        assert found, self.said
        return found[1]

    def interrupt(self) -> int:
        """Press Ctrl-C: the signal goes to the whole process group. Return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)


def command(
    *arguments: str, log: int | IO[str] = subprocess.PIPE, program: Sequence[str] = INSTALLED, **environment: str
) -> "subprocess.Popen[str]":
    """Start the command in an environment that holds no settings but those given, its standard error going to `log`.

    `program` is another version's command.
    """
    inherited = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ}
    return subprocess.Popen(
        [*program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=inherited | environment,
        start_new_session=True,
    )


def start(
    data_dir: Path, *, log: int | IO[str] = subprocess.PIPE, program: Sequence[str] = INSTALLED, **environment: str
) -> Served:
    """Start a server on ports that are free and return it once it answers; fail with what it said if it ends.

    One that will log much needs a file for `log`: nobody reads the pipe.
    """
    ports = {"GRPC_LISTEN": "127.0.0.1:0", "HTTP_LISTEN": "127.0.0.1:0", "ADMIN_LISTEN": "127.0.0.1:0"}
    ports["DATA_DIR"] = str(data_dir)
    process = command("serve", log=log, program=program, **ports | environment)
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if STARTED in line:
            return Served(process, "".join(lines))
    process.wait()
    raise AssertionError("".join(lines) + (process.stderr.read() if process.stderr else ""))


@contextmanager
def served(
    data_dir: Path, *, log: int | IO[str] = subprocess.PIPE, program: Sequence[str] = INSTALLED, **environment: str
) -> Iterator[Served]:
    """Yield a started server, and stop it by Ctrl-C if the test has not."""
    server = start(data_dir, log=log, program=program, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.interrupt()
        for stream in (server.process.stdout, server.process.stderr):
            if stream:
                stream.close()


def refusal(*arguments: str, **environment: str) -> str:
    """Run a command that must refuse: exit code 1, nothing on standard output. Return what it said."""
    with command(*arguments, **environment) as process:
        output, said = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, ""), output + said
    assert "Traceback" not in said
    return said
