"""The access log and the event log."""

import asyncio
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from wingmanmatch_server.telemetry.log_writer import CAPACITY
from wingmanmatch_server.telemetry.logs import FLUSH_LINES, AccessLog, capture_libraries, configure_logs, open_logs

CALL = ("/package.Service/Method", "OK", "", "local", 0.0125)


async def test_lines_are_written_soon_and_in_order() -> None:
    """A single line does not wait for others; many go out together."""
    output = io.BytesIO()
    log = AccessLog("json", output, now=lambda: 0.0)
    log.record(*CALL)
    assert output.getvalue() == b""
    async with asyncio.timeout(5):
        while not output.getvalue():
            await asyncio.sleep(0.01)
    assert json.loads(output.getvalue()) == {
        "event": "rpc",
        "method": "/package.Service/Method",
        "code": "OK",
        "reason": "",
        "caller": "local",
        "milliseconds": 12.5,
        "timestamp": "1970-01-01T00:00:00+00:00",
    }


async def test_a_full_batch_does_not_wait() -> None:
    """The batch is written with the line that fills it, and nothing is written twice."""
    output = io.BytesIO()
    log = AccessLog("text", output, now=lambda: 0.0)
    for number in range(FLUSH_LINES):
        log.record(f"/s/M{number}", "NOT_FOUND", "MATCH_NOT_FOUND", "booking", 0.001)
    lines = output.getvalue().decode().splitlines()
    log.flush()
    assert len(lines) == len(output.getvalue().splitlines()) == FLUSH_LINES
    assert lines[0].split() == ["00:00:00.000", "NOT_FOUND", "1.00", "ms", "/s/M0", "MATCH_NOT_FOUND", "booking"]


def test_tracebacks_show_no_local_variables() -> None:
    """What a failed function held in its hands stays out of both forms of the log."""
    for log_format in ("json", "text"):
        output = io.BytesIO()
        configure_logs(log_format, output)  # type: ignore[arg-type]
        hold_a_secret_and_fail()
        assert b"went wrong" in output.getvalue()
        assert b"hunter2" not in output.getvalue()


def hold_a_secret_and_fail() -> None:
    """Log an exception raised beside a secret."""
    password = "hunter2"
    try:
        raise ValueError(f"went wrong after {len(password)}")
    except ValueError:
        structlog.get_logger().exception("failed")


def test_dropped_lines_are_told_in_the_format_of_the_log() -> None:
    """A machine reads how many lines are missing in the line that stands in their place."""
    reading, writing = os.pipe()
    with (
        os.fdopen(reading, "rb") as pipe,
        os.fdopen(writing, "wb", buffering=0) as output,
        standard_logging_restored(),
        open_logs("json", output) as logs,
    ):
        logs.write(b"x" * CAPACITY + b"\n")
        logs.write(b"{}\n")
        told, line = pipe.readline(), pipe.readline()
    assert line == b"{}\n"
    assert json.loads(told) | {"timestamp": ""} == {
        "event": "log_lines_dropped",
        "lines": 1,
        "level": "warning",
        "timestamp": "",
    }


def test_libraries_log_to_the_same_place() -> None:
    """Warnings and the messages of libraries, tracebacks included, are lines of the same format; broken ones too."""
    output = io.BytesIO()
    with standard_logging_restored():
        capture_libraries("json", output)
        logging.getLogger("library").info("silent")
        logging.getLogger("library").error("failed %d times", 3)
        logging.getLogger("library").error("failed %d times", "three")
        logging.getLogger("library").error("raised", exc_info=ValueError("why"))
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("outdated", stacklevel=1)
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["library_message", "library_message_lost", *["library_message"] * 2]
    assert (lines[0]["library"], lines[0]["message"], lines[0]["level"]) == ("library", "failed 3 times", "error")
    assert (lines[1]["library"], lines[1]["error"]) == ("library", "TypeError")
    assert lines[2]["exception"][0]["exc_value"] == "why"
    assert "outdated" in lines[3]["message"]


@contextmanager
def standard_logging_restored() -> Iterator[None]:
    """Give the standard library's logging back to the test runner."""
    handlers, level = logging.root.handlers[:], logging.root.level
    # Taken away first: those of the runner would be closed.
    logging.root.handlers[:] = []
    try:
        yield
    finally:
        logging.root.handlers[:], logging.root.level = handlers, level
        logging.captureWarnings(capture=False)
