"""The access log and the event log."""

import asyncio
import io
import json

import structlog

from wingmanmatch_server.telemetry.logs import FLUSH_LINES, AccessLog, configure_logs

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
