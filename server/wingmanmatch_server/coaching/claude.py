"""Claude by Anthropic's SDK, behind the circuit breaker.

The SDK takes seconds to import, so it is imported by a thread of `open_claude`, beside the start of the server.
"""

import asyncio
import importlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.model import Event, Prompt, Started, Stop, Stopped, Text
from wingmanmatch_server.resilience.breaker import Breaker, Guard

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
STALL_SECONDS = 30.0  # without an event that carries something; pings do not count
ATTEMPTS = 2  # before the first piece of text; after it nothing is repeated
RETRY_DELAY = 0.5  # seconds
LONGEST_RETRY_DELAY = 2.0
RETRY_AFTER = 5.0  # what a caller is told where Claude says nothing
TOO_LARGE = (400, 413, 422)  # statuses that are about the request, which is ours
# What each model needs to be sent so that it answers without thinking first. Models differ in what they accept and
# refuse the rest, so another model gets nothing of this and does what it does by default.
QUICK: dict[str, dict[str, Any]] = {"claude-sonnet-5-5": {"thinking": {"type": "between_tools"}}}
STOPS = {"max_tokens": Stop.LENGTH, "model_context_window_exceeded": Stop.LENGTH, "refusal": Stop.REFUSAL}
# The loggers that tell requests at their debug level.
TALKATIVE = ("anthropic", "httpx", "httpx2", "httpcore", "httpcore2")


class RequestRefused(Exception):
    """Claude says that the request is wrong, which can only be a defect of ours. Quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long Claude is waited for; seconds."""

    connect: float = CONNECT_SECONDS
    stall: float = STALL_SECONDS
    retry: float = RETRY_DELAY


PATIENCE = Patience()


class Claude:
    """A `model.Model`."""

    def __init__(
        self,
        opening: "asyncio.Future[Any]",
        breaker: Breaker,
        model: str,
        patience: Patience = PATIENCE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`opening` becomes the SDK's client."""
        self._opening = opening
        self._breaker = breaker
        self._model = model
        self._patience = patience
        self._sleep = sleep
        self.latency = 0.0  # seconds until the last answer began

    async def answer(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """See `model.Model`."""
        for attempt in range(1, ATTEMPTS + 1):
            begun = False
            try:
                async with aclosing(self._attempt(prompt)) as events:
                    async for event in events:
                        begun = begun or isinstance(event, Text)
                        yield event
            except errors.Unavailable as error:
                delay = self._patience.retry if error.retry_after is None else error.retry_after
                hopeless = error.reason == "CIRCUIT_OPEN" or delay > LONGEST_RETRY_DELAY
                if begun or hopeless or attempt == ATTEMPTS:
                    raise _told(error) from None
                await self._sleep(delay)
            else:
                return

    async def _attempt(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        client = await asyncio.shield(self._opening)
        started = time.perf_counter()
        guard = self._breaker.guard()
        with guard:
            async with self._events(client, prompt, guard) as stream, aclosing(stream) as events:
                async for event in events:
                    if isinstance(event, Started):
                        self.latency = time.perf_counter() - started
                    yield event

    @asynccontextmanager
    async def _events(self, client: Any, prompt: Prompt, guard: Guard) -> AsyncIterator[AsyncGenerator[Event, None]]:
        request = client.messages.stream(**request_of(prompt, self._model))
        try:
            async with asyncio.timeout(self._patience.stall) as limit, request as stream:
                limit.reschedule(None)
                yield self._read(stream, guard)
        except TimeoutError:
            raise _away("stalled") from None
        except Exception as error:  # noqa: BLE001 - the SDK's are known only once it is imported
            raise _translated(error) from None

    async def _read(self, stream: Any, guard: Guard) -> AsyncGenerator[Event, None]:
        """Yield what the stream says. Raises TimeoutError where it says nothing for too long."""
        events, output_tokens, stop = aiter(stream), 0, None
        while True:
            async with asyncio.timeout(self._patience.stall):
                event = await anext(events, None)
            guard.progressed()
            if event is None:
                raise _away("ended")
            if event.type == "message_start":
                usage = event.message.usage
                cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
                yield Started(usage.input_tokens + cached)
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                yield Text(event.delta.text)
            elif event.type == "message_delta":
                output_tokens, stop = event.usage.output_tokens, event.delta.stop_reason
            elif event.type == "message_stop":
                yield Stopped(output_tokens, STOPS.get(stop or "", Stop.COMPLETE))
                return


def request_of(prompt: Prompt, model: str) -> dict[str, Any]:
    """Return what the SDK is to send. The instructions, alike for everybody, end what the provider may cache."""
    return {
        "model": model,
        "max_tokens": prompt.max_tokens,
        "system": [
            {"type": "text", "text": prompt.instructions, "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": prompt.facts},
        ],
        "messages": [{"role": str(turn.author), "content": turn.text} for turn in prompt.turns],
        **QUICK.get(model, {}),
    }


@asynccontextmanager
async def open_claude(key: str, breaker: Breaker, model: str, patience: Patience = PATIENCE) -> AsyncIterator[Claude]:
    """Open a client without waiting for it: the first answer does. ANTHROPIC_BASE_URL says where, as for any SDK."""
    opening = asyncio.ensure_future(asyncio.to_thread(_make_client, key, patience))
    try:
        yield Claude(opening, breaker, model, patience)
    finally:
        client = await opening
        await client.close()


def _make_client(key: str, patience: Patience) -> Any:
    sdk, http = importlib.import_module("anthropic"), importlib.import_module("httpx2")
    for name in TALKATIVE:  # whatever ANTHROPIC_LOG says, no prompt is to reach a log
        logging.getLogger(name).setLevel(logging.WARNING)
    timeout = http.Timeout(patience.stall, connect=patience.connect)
    client = sdk.AsyncAnthropic(api_key=key, max_retries=0, timeout=timeout, open_telemetry=False)
    assert client.messages is not None  # imports what it needs
    return client


def _translated(error: Exception) -> Exception:
    """Return what an error of the SDK, or of HTTP below it, means."""
    if isinstance(error, errors.DomainError):
        return error
    sdk, http = importlib.import_module("anthropic"), importlib.import_module("httpx2")
    if isinstance(error, sdk.APIStatusError):
        kind = error.type or "unknown"
        status = STATUS_OF.get(kind, error.status_code)
        if status in TOO_LARGE:
            return RequestRefused(f"status {status}, {kind}")
        return _away(kind, status, _retry_after(error.response.headers.get("retry-after")))
    if isinstance(error, sdk.APIError | http.HTTPError | http.StreamError):
        return _away("unreachable")
    return error


# An error inside a stream comes with the status 200 of the stream; its type tells what it would have been.
STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
}
CONFIGURATION = (401, 402, 403, 404)


def _away(kind: str, status: int = 0, retry_after: float | None = None) -> errors.Unavailable:
    if status in CONFIGURATION:
        log.error("claude_refuses", kind=kind, status=status)
        retry_after = retry_after or LONGEST_RETRY_DELAY + RETRY_AFTER  # repeating at once is in vain
    else:
        log.warning("claude_away", kind=kind, status=status)
    return errors.Unavailable("COACH_UNAVAILABLE", "the coach does not answer", retry_after=retry_after)


def _told(error: errors.Unavailable) -> errors.Unavailable:
    """Return the error with a hint of when to come back."""
    error.retry_after = RETRY_AFTER if error.retry_after is None else error.retry_after
    return error


def _retry_after(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
