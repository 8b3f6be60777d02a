"""One worker as the supervisor sees it: a process that comes, answers and goes."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import replace

from wingmanmatch_server.workers.assignment import Assignment, parse_ready

COMMAND = (sys.executable, "-m", "wingmanmatch_server", "worker")
START_TIMEOUT = 60.0


class WorkerFailed(Exception):
    """A worker did not begin to serve. The text is a sentence for people."""


class Worker:
    """The process for one port. `address` is where it answers gRPC, or will again; `is_up` is whether it does."""

    def __init__(
        self,
        index: int,
        assignment: Assignment,
        *,
        command: tuple[str, ...] = COMMAND,
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        self.index = index
        self.is_up = False
        self._assignment = assignment
        self._command = command
        self._start_timeout = start_timeout
        self._process: Process | None = None

    @property
    def address(self) -> str:
        """Where it answers gRPC."""
        return self._assignment.grpc_listen

    @property
    def http_socket(self) -> str:
        """The path of the socket on which it answers what the world asks by HTTP."""
        return self._assignment.http_listen.removeprefix("unix:")

    @property
    def admin_socket(self) -> str:
        """The path of the socket on which it tells its metrics and whether it is ready."""
        return self._assignment.admin_listen.removeprefix("unix:")

    @property
    def pid(self) -> int | None:
        """The process, None before the first."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start a process and return once it answers. Raises WorkerFailed; then there is none."""
        # A session of its own: the terminal's Ctrl-C is the supervisor's to pass on.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        try:
            async with asyncio.timeout(self._start_timeout):
                line = await self._introduce(self._process)
        except TimeoutError:
            raise WorkerFailed(f"{self} did not answer within {self._start_timeout:g} s") from None
        finally:
            if not self.is_up:
                self.send_signal(signal.SIGKILL)
        if not line:
            raise WorkerFailed(f"{self} ended with status {await self._process.wait()} before it answered")

    async def ended(self) -> int:
        """Return the status with which the process ends, once it does."""
        assert self._process
        status = await self._process.wait()
        self.is_up = False
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal to the process if it runs."""
        if self._process and self._process.returncode is None:
            # Not by asyncio's own method, which may take the process's status away from whoever waits for it.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def __str__(self) -> str:
        return f"worker {self.index} ({self.address})"

    async def _introduce(self, process: Process) -> bytes:
        """Tell the process its assignment and return the line by which it says that it answers, or nothing."""
        assert process.stdin
        assert process.stdout
        process.stdin.write(self._assignment.to_line())
        with suppress(ConnectionError):
            await process.stdin.drain()
        line = await process.stdout.readline()
        if line:
            # A port that the system chose is kept from now on.
            self._assignment = replace(self._assignment, grpc_listen=parse_ready(line))
            self.is_up = True
        return line
