"""A server that strangers reach by HTTP, at its shipped limits."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.served import INSTALLED, Served, served
from support.webhooks import SECRET
from wingmanmatch_server.notification.render import FIELDS
from wingmanmatch_server.notification.unsubscribe import UnsubscribeLinks

SIGNING_SECRET = "a secret of the test's own that is long enough"


@dataclass(frozen=True)
class Target:
    """A server, and the file of its log."""

    server: Served
    log: Path

    @property
    def http(self) -> str:
        """The public address."""
        return self.server.http

    def lines(self) -> list[dict[str, Any]]:
        """Return the log, each line of which must be JSON."""
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]

    def lines_of_http(self) -> list[dict[str, Any]]:
        """Return the lines of the log that are about HTTP: others may come at any time."""
        return [line for line in self.lines() if line["event"].startswith("http_")]

    def lines_after(self, before: int) -> list[dict[str, Any]]:
        """Wait until HTTP has more than so many lines, which a thread writes, and return the further ones."""
        deadline = time.monotonic() + 10
        while len(lines := self.lines_of_http()) <= before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return lines[before:]

    def link(self, user_id: str) -> str:
        """Return a good link that unsubscribes somebody."""
        return UnsubscribeLinks(self.http, [SIGNING_SECRET], list(FIELDS)).url(user_id, "SESSION_REMINDER")


@contextmanager
def serving(folder: Path, environment: Mapping[str, str], program: Sequence[str] = INSTALLED) -> Iterator[Target]:
    """Serve in a folder; the log is of one JSON object a line."""
    offered = {"RESEND_WEBHOOK_SECRET": SECRET, "PUBLIC_URL": "http://127.0.0.1", "SIGNING_SECRET": SIGNING_SECRET}
    log = folder / "said"
    with (
        log.open("w") as output,
        served(folder, log=output, program=program, LOG_FORMAT="json", **offered, **environment) as server,
    ):
        yield Target(server, log)
