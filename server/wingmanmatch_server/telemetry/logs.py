"""Logs: one line an event, as JSON for machines or as text for people. Never a person, a place or a secret."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal, Protocol, cast

import orjson
import structlog

from wingmanmatch_server.telemetry.log_writer import LogWriter, RawOutput

LogFormat = Literal["json", "text"]
FLUSH_LINES = 64
FLUSH_SECONDS = 0.05


class LineOutput(Protocol):
    """Takes whole lines: a LogWriter, or in tests a file in memory."""

    def write(self, lines: bytes, /) -> object:
        """Take lines, each with its end."""


@contextmanager
def open_logs(log_format: LogFormat, output: RawOutput) -> Iterator[LogWriter]:
    """Send whatever is logged to `output` without ever waiting for it, and yield what takes lines for it.

    At the end what is left is written, for at most two seconds.
    """
    writer = LogWriter(output, lambda lines: _render(log_format, "log_lines_dropped", lines=lines))
    configure_logs(log_format, writer)
    capture_libraries(log_format, writer)
    try:
        yield writer
    finally:
        writer.close()


def configure_logs(log_format: LogFormat, output: LineOutput) -> None:
    """Send what the server's modules log to `output`."""
    structlog.configure(
        processors=_processors(log_format),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", output)),
        cache_logger_on_first_use=False,
    )


def capture_libraries(log_format: LogFormat, output: LineOutput) -> None:
    """Send warnings, and what libraries log by the standard library, to `output` in the same format."""
    logging.basicConfig(handlers=[_LibraryHandler(log_format, output)], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


class _LibraryHandler(logging.Handler):
    def __init__(self, log_format: LogFormat, output: LineOutput) -> None:
        super().__init__()
        self._log_format: LogFormat = log_format
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._line(record)
        except Exception as error:  # noqa: BLE001 - whatever cannot be rendered must not fail whoever logs it
            line = _render(self._log_format, "library_message_lost", library=record.name, error=type(error).__name__)
        self._output.write(line)

    def _line(self, record: logging.LogRecord) -> bytes:
        raised = {"exc_info": record.exc_info} if record.exc_info else {}
        said = {"library": record.name, "message": record.getMessage(), **raised}
        return _render(self._log_format, "library_message", record.levelname.lower(), **said)


def _render(log_format: LogFormat, event: str, level: str = "warning", **details: Any) -> bytes:
    """Return the line of an event."""
    logger = structlog.wrap_logger(structlog.ReturnLogger(), processors=_processors(log_format))
    return cast("bytes", getattr(logger, level, logger.warning)(event, **details)) + b"\n"


def _processors(log_format: LogFormat) -> list[structlog.typing.Processor]:
    stamp = structlog.processors.TimeStamper("iso", utc=True)
    return [structlog.processors.add_log_level, stamp, *_renderers(log_format)]


def _renderers(log_format: LogFormat) -> list[structlog.typing.Processor]:
    if log_format == "json":
        # Local variables of a traceback hold requests, so tracebacks go without them.
        transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(transform), structlog.processors.JSONRenderer(orjson.dumps)]
    console = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    return [console, lambda _logger, _name, line: str(line).encode()]


class AccessLog:
    """One line a call, written in batches: at most `FLUSH_LINES` lines or `FLUSH_SECONDS` late."""

    def __init__(self, log_format: LogFormat, output: LineOutput, now: Callable[[], float] = time.time) -> None:
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
