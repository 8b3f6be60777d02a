"""Claude by Anthropic's SDK, behind the circuit breaker.

The SDK takes seconds to import, so it is imported by a thread of `open_claude`, beside the start of the server.
"""

import asyncio
import importlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.claude_errors import RETRY_AFTER, Declined, away, meaning_of
from wingmanmatch_server.coaching.model import Event, Prompt, Started, Stop, Stopped, Text
from wingmanmatch_server.resilience.breaker import Breaker
from wingmanmatch_server.resilience.deadline import seconds_left
from wingmanmatch_server.resilience.retry import Retry

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
LONGEST_WAIT = 2.0  # seconds that a caller is kept waiting where Claude asks for a pause
EARLY = 0.01  # seconds by which a timer of the event loop may end too early
# What each model needs to be sent so that it answers without thinking first. Models differ in what they accept and
# refuse the rest, so another model gets nothing of this and does what it does by default.
QUICK: dict[str, dict[str, Any]] = {"claude-sonnet-5-5": {"thinking": {"type": "between_tools"}}}
STOPS = {"max_tokens": Stop.LENGTH, "model_context_window_exceeded": Stop.LENGTH, "refusal": Stop.REFUSAL}
# The loggers that tell requests at their debug level.
TALKATIVE = ("anthropic", "httpx", "httpx2", "httpcore", "httpcore2")


class Begun(NamedTuple):
    """An answer up to its first piece of text, and the rest of it."""

    events: Sequence[Event]
    rest: AsyncGenerator[Event, None]


class Claude:
    """A `model.Model`. For as long as Claude asks for a pause (429), nobody of this process asks it anything."""

    def __init__(
        self,
        opening: "asyncio.Future[Any]",
        breaker: Breaker,
        retry: Retry,
        model: str,
        *,
        patience: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`opening` becomes the SDK's client; `patience` is in seconds, for each event that carries something.

        `clock` returns monotonic seconds.
        """
        self._opening = opening
        self._breaker = breaker
        self._retry = retry
        self._model = model
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._paused_until = 0.0
        self.latency = 0.0  # seconds until the last answer began

    async def answer(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """See `model.Model`. What fails before the first piece of text is tried again; nothing is repeated after it."""
        try:
            begun = await self._begin(prompt)
            async with aclosing(begun.rest) as rest:
                for event in begun.events:
                    yield event
                async for event in rest:
                    yield event
        except Declined as declined:
            raise away(retry_after=declined.pause) from None
        except errors.Unavailable as error:
            error.retry_after = RETRY_AFTER if error.retry_after is None else error.retry_after
            raise

    async def _begin(self, prompt: Prompt) -> Begun:
        """Return an answer that has begun, if need be after a short pause that Claude asks for."""
        waited = False
        while True:
            try:
                return await self._retry.call(partial(self._open, prompt), repeatable=True)
            except Declined as declined:
                if waited or declined.pause > min(LONGEST_WAIT, seconds_left(self._clock())):
                    raise
                await self._sleep(declined.pause + EARLY)
                waited = True

    async def _open(self, prompt: Prompt) -> Begun:
        client = await asyncio.shield(self._opening)
        pause = self._paused_until - self._clock()
        if pause > 0:
            raise Declined(pause)
        rest, events = self._attempt(client, prompt), []
        async for event in rest:
            events.append(event)
            if isinstance(event, Text):
                break
        return Begun(events, rest)

    async def _attempt(self, client: Any, prompt: Prompt) -> AsyncGenerator[Event, None]:
        started = self._clock()
        try:
            with self._breaker.guard():
                async with self._events(client, prompt) as stream, aclosing(stream) as events:
                    async for event in events:
                        if isinstance(event, Started):
                            self.latency = self._clock() - started
                        yield event
        except Declined as declined:
            if declined.throttled:
                self._paused_until = self._clock() + declined.pause
            raise

    @asynccontextmanager
    async def _events(self, client: Any, prompt: Prompt) -> AsyncIterator[AsyncGenerator[Event, None]]:
        request = client.messages.stream(**request_of(prompt, self._model))
        try:
            async with asyncio.timeout(self._patience) as limit, request as stream:
                limit.reschedule(None)
                yield self._read(stream)
        except Exception as error:  # noqa: BLE001 - the SDK's are known only once it is imported
            # Nothing of the SDK's error goes on: it may quote the request or the answer.
            raise meaning_of(error) from None

    async def _read(self, stream: Any) -> AsyncGenerator[Event, None]:
        """Yield what the stream says. Raises TimeoutError where it says nothing for too long; pings say nothing."""
        output_tokens, stop, texts = 0, None, _Texts()
        while True:
            async with asyncio.timeout(self._patience):
                event = await anext(stream, None)
            if event is None:
                raise ConnectionError("the stream ended before the answer")
            if event.type == "message_start":
                yield Started(_input_tokens(event.message.usage))
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                yield Text(texts.joined(event.delta.text))
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
async def open_claude(
    key: str,
    breaker: Breaker,
    retry: Retry,
    model: str,
    patience: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Claude]:
    """Open a client without waiting for it: the first answer does. ANTHROPIC_BASE_URL says where, as for any SDK."""
    opening = asyncio.ensure_future(asyncio.to_thread(_make_client, key, patience))
    try:
        yield Claude(opening, breaker, retry, model, patience=patience, clock=clock, sleep=sleep)
    finally:
        client = await opening
        await client.close()


def _make_client(key: str, patience: float) -> Any:
    sdk = importlib.import_module("anthropic")
    for name in TALKATIVE:  # whatever ANTHROPIC_LOG says, no prompt is to reach a log
        logging.getLogger(name).setLevel(logging.WARNING)
    timeout = sdk.Timeout(patience, connect=min(CONNECT_SECONDS, patience))
    client = sdk.AsyncAnthropic(api_key=key, max_retries=0, timeout=timeout, open_telemetry=False)
    assert client.messages is not None  # imports what it needs
    return client


def _input_tokens(usage: Any) -> int:
    read: int = usage.input_tokens or 0
    return read + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)


class _Texts:
    """Pieces of text that come with halves of surrogate pairs, which JSON can hold and UTF-8 cannot."""

    def __init__(self) -> None:
        self._half = ""

    def joined(self, text: str) -> str:
        """Return the text with halves joined, the last of a piece to the first of the next; `\ufffd` for one alone."""
        if text.isascii() and not self._half:
            return text
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        whole = text.removesuffix(self._half)
        return whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
