"""What an error of Anthropic's SDK, or of HTTP below it, means here. Nothing of its text goes on."""

import importlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.model import RequestRefused

log = structlog.get_logger(__name__)

RETRY_AFTER = 5.0  # seconds, what a caller is told where Claude says nothing
PAUSE = 10.0  # seconds after a 429 that names none
LONGEST_PAUSE = 120.0  # seconds for which a 429 is believed
MISCONFIGURED = 60.0  # seconds after which somebody may have repaired the key
THROTTLED = 429
# Of the key, the account or the name of the model.
CONFIGURATION = (401, 402, 403, 404)
CLIENT_ERRORS = range(400, 500)
REQUEST_TIMEOUT = 408
STREAMING = 200
# An error inside a stream comes with the status 200 of the stream; its type tells what it would have been.
STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": THROTTLED,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class Declined(Exception):
    """Claude is there and will not answer for `pause` seconds, which counts for no circuit breaker."""

    def __init__(self, pause: float, *, throttled: bool = False) -> None:
        super().__init__(f"for {pause:g} s")
        self.pause = pause
        self.throttled = throttled


def meaning_of(error: Exception) -> Exception:
    """Return what the SDK's error means: Declined, RequestRefused, or errors.Unavailable where Claude is away."""
    sdk = importlib.import_module("anthropic")
    if isinstance(error, sdk.APIStatusError):
        return _of_status(error.status_code, str(error.type), error.response.headers)
    if isinstance(error, TimeoutError | sdk.APITimeoutError):
        log.warning("claude_away", kind="stalled")
    else:
        # Whatever breaks while a stream is read is the stream's: lost connections, bytes that are no events.
        log.warning("claude_away", kind=type(error).__name__)
    return away()


def away(retry_after: float | None = None) -> errors.Unavailable:
    """Return the error of an answer that Claude does not give."""
    return errors.Unavailable("COACH_UNAVAILABLE", "the coach does not answer", retry_after=retry_after)


def _of_status(status: int, kind: str, headers: Mapping[str, str]) -> Exception:
    if status == STREAMING:
        status = STATUS_OF.get(kind, status)
    kind = kind if kind in STATUS_OF else "unnamed"
    if status == THROTTLED:
        pause = _pause(headers.get("retry-after", ""), headers.get("date", ""))
        log.warning("claude_throttles", seconds=pause)
        return Declined(pause, throttled=True)
    if status in CONFIGURATION:
        log.error("claude_refuses_key_or_model", kind=kind, status=status)
        return Declined(MISCONFIGURED)
    if status in CLIENT_ERRORS and status != REQUEST_TIMEOUT:
        return RequestRefused(f"status {status}, {kind}")
    log.warning("claude_away", kind=kind, status=status)
    return away()


def _pause(retry_after: str, date: str) -> float:
    """Return the seconds to wait: Retry-After has them, or a date, which is compared with that of the answer."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - parsedate_to_datetime(date)).total_seconds()
        except (TypeError, ValueError):
            return PAUSE
    return min(max(seconds, 0.0), LONGEST_PAUSE) if isfinite(seconds) else PAUSE
