"""The server that is fuzzed: the command as a person runs it, on its own engines, and what it logs."""

import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.claude_server import serving_claude
from support.credentials import SECRET, SETTINGS
from support.served import Served, served
from support.server import roomy_limits
from support.soak.watching import held
from support.webhooks import SECRET as WEBHOOK_SECRET

ROOM = 1_000_000  # calls that each bucket holds: the limits must not keep requests from what lies behind
KEPT = 20  # lines of the log that say what went wrong


@dataclass
class Log:
    """What the server logged: how many lines, and those that tell of errors."""

    lines: int = 0
    bad: list[str] = field(default_factory=list)
    bad_count: int = 0

    def take(self, line: str) -> None:
        """Count a line, and keep it if it tells of an error."""
        self.lines += 1
        if _is_bad(line):
            self.bad_count += 1
            if len(self.bad) < KEPT:
                self.bad.append(line)


def _is_bad(line: str) -> bool:
    if "Traceback (most recent call last)" in line or '"exception"' in line:
        return True
    try:
        entry = json.loads(line)
    except ValueError:
        return True
    return not isinstance(entry, dict) or entry.get("level") in ("error", "critical")


@dataclass(frozen=True)
class FuzzSite:
    """A running server."""

    served: Served
    log: Log

    @property
    def address(self) -> str:
        """Where it serves gRPC."""
        return self.served.grpc

    def memory(self) -> float:
        """Return the resident memory of the server, in MB."""
        return held(self.served.process.pid)[0]


@asynccontextmanager
async def fuzz_site(folder: Path) -> AsyncIterator[FuzzSite]:
    """Yield a server with credentials, a coach and room in its limits; at the end it must stop with status 0."""
    log = Log()
    async with serving_claude() as claude:
        read_end, write_end = os.pipe()
        reader = threading.Thread(target=_read, args=(read_end, log))
        reader.start()
        try:
            settings = {
                "API_KEYS": SETTINGS["api_keys"],
                "SUPABASE_JWT_SECRET": SECRET,
                "RATE_LIMITS_FILE": str(roomy_limits(folder, ROOM)),
                "COACHING_DAILY_TOKENS": "5000000",
                "ANTHROPIC_API_KEY": "sk-ant-test",
                "ANTHROPIC_BASE_URL": claude.url,
                "RESEND_WEBHOOK_SECRET": WEBHOOK_SECRET,
                "MAX_DAILY_MATCHES": "100",
                "LOG_FORMAT": "json",
            }
            with served(folder, log=write_end, **settings) as server:
                yield FuzzSite(server, log)
                assert server.interrupt() == 0
        finally:
            os.close(write_end)
            reader.join(30)


def _read(descriptor: int, log: Log) -> None:
    with open(descriptor) as lines:
        for line in lines:
            log.take(line)
