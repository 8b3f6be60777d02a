"""A PostgreSQL of a test's own, to be ended, killed, stopped and started again."""

import os
import signal
from pathlib import Path

import psutil

from wingmanmatch_server.drivers.embedded import EmbeddedEngines


class OwnPostgres:
    """A PostgreSQL that may be ended and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.dsn = ""

    def start(self) -> None:
        """Start it and return once it answers, where it did before if it did."""
        self._engines = EmbeddedEngines(self._folder, valkey=False)
        self._engines.start()
        self._engines.wait()  # an engine is started by the main thread, so the loop has to wait
        self.dsn = self._engines.postgres_dsn

    def stop(self) -> None:
        """Shut it down as `pg_ctl stop -m fast` does."""
        self._engines.stop()

    def crash(self) -> None:
        """Kill the postmaster and return once all its processes are gone."""
        os.kill(self._engines.pids["PostgreSQL"], signal.SIGKILL)
        self._engines.stop()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        postmaster = psutil.Process(self._engines.pids["PostgreSQL"])
        for process in (postmaster, *postmaster.children()):
            process.send_signal(number)
