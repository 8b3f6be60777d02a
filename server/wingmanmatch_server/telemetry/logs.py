"""Logs: one line an event, as JSON for machines or as text for people. Never a person, a place or a secret."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal

import orjson
import structlog

LogFormat = Literal["json", "text"]
FLUSH_LINES = 64
FLUSH_SECONDS = 0.05


def configure_logs(log_format: LogFormat, output: BinaryIO) -> None:
    """Send what the server's modules log to `output`."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True),
            *_renderers(log_format),
        ],
        logger_factory=structlog.BytesLoggerFactory(output),
        cache_logger_on_first_use=False,
    )


def _renderers(log_format: LogFormat) -> list[structlog.typing.Processor]:
    if log_format == "json":
        # Local variables of a traceback hold requests, so tracebacks go without them.
        transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(transform), structlog.processors.JSONRenderer(orjson.dumps)]
    console = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    return [console, lambda _logger, _name, line: str(line).encode()]


class AccessLog:
    """One line a call, written in batches: at most `FLUSH_LINES` lines or `FLUSH_SECONDS` late."""

    def __init__(self, log_format: LogFormat, output: BinaryIO, now: Callable[[], float] = time.time) -> None:
        """`now` returns seconds since the epoch."""
        self._format = _json_line if log_format == "json" else _text_line
        self._output = output
        self._now = now
        self._lines: list[tuple[Any, ...]] = []

    def record(self, method: str, code: str, reason: str, caller: str, seconds: float) -> None:
        """Note one completed call. Call it on the event loop."""
        self._lines.append((self._now(), method, code, reason, caller, seconds))
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        elif len(self._lines) >= FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        lines, self._lines = self._lines, []
        if lines:
            self._output.write(b"".join(self._format(*line) for line in lines))
            self._output.flush()


def _json_line(now: float, method: str, code: str, reason: str, caller: str, seconds: float) -> bytes:
    return orjson.dumps(
        {
            "event": "rpc",
            "method": method,
            "code": code,
            "reason": reason,
            "caller": caller,
            "milliseconds": round(seconds * 1000, 3),
            "timestamp": datetime.fromtimestamp(now, UTC),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _text_line(now: float, method: str, code: str, reason: str, caller: str, seconds: float) -> bytes:
    at = datetime.fromtimestamp(now, UTC).strftime("%H:%M:%S.%f")[:-3]
    return f"{at} {code:<19} {seconds * 1000:8.2f} ms  {method}  {reason and reason + '  '}{caller}\n".encode()
