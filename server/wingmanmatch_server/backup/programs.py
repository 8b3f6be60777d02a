"""PostgreSQL's own programs as child processes.

A password reaches them by the environment, which only this user can read, and never by the command line.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from wingmanmatch_server.backup.archive import BackupError
from wingmanmatch_server.drivers.postgres_address import without_pooler

_APPLICATION = "wingmanmatch"
# What of our environment a program gets: how libpq proves who it is. Variables that lead it to another server, which
# asyncpg does not know either, are left out.
_INHERITED = re.compile(r"PG(?:SSL[A-Z]*|PASSWORD|PASSFILE|TARGETSESSIONATTRS|KRBSRVNAME)|HOME|PATH|TMPDIR")


@dataclass(frozen=True, slots=True)
class Target:
    """The address of a database without its password, and the password."""

    address: str
    password: str | None = field(repr=False)


def target_of(dsn: str) -> Target:
    """Take a DSN apart, whether its password stands before the host or among the parameters."""
    parts = urlsplit(without_pooler(dsn))
    credentials, at, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    parameters = parse_qsl(parts.query, keep_blank_values=True)
    passwords = [unquote(password), *(value for name, value in parameters if name == "password")]
    kept = [(name, value) for name, value in parameters if name != "password"]
    query = urlencode(kept, quote_via=quote)
    address = parts._replace(netloc=f"{user}{at}{hosts}", query=query).geturl()
    return Target(address, next((word for word in reversed(passwords) if word), None))


class Programs:
    """The programs of one folder. Each method raises BackupError with what the program complained of first."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """`environment` is this process's, of which a program gets only what concerns it."""
        self._folder = folder
        inherited = {name: value for name, value in environment.items() if _INHERITED.fullmatch(name)}
        self._environment = inherited | {"LC_ALL": "C", "PGAPPNAME": _APPLICATION}

    def read(self, program: str, dsn: str, *options: str, into: IO[bytes]) -> None:
        """Run a program on the database `dsn` and copy what it writes to `into`."""
        with self._running(program, dsn, options, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            assert process.stdout
            shutil.copyfileobj(process.stdout, into)

    def feed(self, program: str, dsn: str, *options: str, source: IO[bytes]) -> None:
        """Run a program on the database `dsn` with `source` as its input."""
        with self._running(program, dsn, options, stdout=subprocess.DEVNULL, stdin=subprocess.PIPE) as process:
            assert process.stdin
            # Broken if the program has ended: its status and complaint say why.
            with suppress(BrokenPipeError):
                shutil.copyfileobj(source, process.stdin)
                process.stdin.close()

    @contextmanager
    def _running(
        self, program: str, dsn: str, options: tuple[str, ...], **streams: Any
    ) -> Iterator["subprocess.Popen[bytes]"]:
        target = target_of(dsn)
        command: list[str | Path] = [self._folder / program, "--no-password", f"--dbname={target.address}", *options]
        environment = self._environment | ({"PGPASSWORD": target.password} if target.password else {})
        with tempfile.TemporaryFile() as complaints:
            process = _start(command, env=environment, stderr=complaints, **streams)
            try:
                yield process
                status = process.wait()
            finally:
                _end(process)
            if status:
                raise BackupError(f"{program} failed: {_first_complaint(complaints, status)}")


def _start(command: list[str | Path], **options: Any) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, **options)  # noqa: S603 - a program of the wheel, arguments of ours
    except OSError as error:
        raise BackupError(f"{command[0]} cannot be started: {error.strerror}.") from error


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream and not stream.closed:
            # What is still buffered for a program that has ended is lost.
            with suppress(BrokenPipeError):
                stream.close()


def _first_complaint(complaints: IO[bytes], status: int) -> str:
    # The first line alone: those after it, DETAIL and CONTEXT, quote rows.
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").splitlines()
    told = next((line for line in lines if re.search(r"error: |ERROR: |FATAL: ", line)), f"status {status}")
    return re.sub(r"^.*?error: ", "", told).strip()
