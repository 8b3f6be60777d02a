"""A process that runs engines, for tests that kill it.

Run as a program: `FOLDER [--user NAME] [--untied] [--only-start]`. It writes one line of JSON, either the engines'
addresses and processes or the error, then a line for each interrupt, and stops the engines at the end of its input.
"""

import argparse
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from wingmanmatch_server.drivers.embedded import EmbeddedEngines, EngineError


@dataclass(frozen=True)
class Host:
    """The process, in a group of its own, and the line that it wrote."""

    process: subprocess.Popen[str]
    said: dict[str, Any]

    def kill(self) -> None:
        """End the process at once, and only it."""
        self.process.kill()
        self.process.wait()

    def interrupt_group(self) -> str:
        """Press Ctrl-C and return what the process, which goes on, says to it."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@contextmanager
def engine_host(folder: Path, *options: str) -> Iterator[Host]:
    """Run this file on `folder`; yield when the engines are ready, or as the options say."""
    command = [sys.executable, __file__, str(folder), *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout
        yield Host(process, json.loads(process.stdout.readline()))


def main() -> None:
    """Run engines until the end of the input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--user", type=pwd.getpwnam, help="whose rights to take, after everything is imported")
    parser.add_argument("--untied", action="store_true", help="as on a system that does not tie children to parents")
    parser.add_argument("--only-start", action="store_true", help="do not wait for the engines")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, _say_interrupted)
    if arguments.user:
        _become(arguments.user)
        # Ours may lie below folders that are closed to that user.
        sys.executable = shutil.which("python3", path=os.defpath) or sys.executable
    if arguments.untied:
        sys.platform = "darwin"
    _run(arguments.folder, only_start=arguments.only_start)


def _run(folder: Path, *, only_start: bool) -> None:
    engines = EmbeddedEngines(folder)
    try:
        engines.start()
        if not only_start:
            engines.wait()
        said = {"pids": dict(engines.pids), "dsn": engines.postgres_dsn, "url": engines.redis_url}
        _say(json.dumps(said))
        sys.stdin.read()
    except EngineError as error:
        _say(json.dumps({"error": str(error), "kind": type(error).__name__}))
    finally:
        engines.stop()


def _become(user: pwd.struct_passwd) -> None:
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def _say_interrupted(_signal: int, _frame: FrameType | None) -> None:
    _say("interrupted")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
