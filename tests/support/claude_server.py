"""Plays Claude's Messages API on a loopback port, as its documentation describes the stream of events.

Each request is answered by the next of `answers`, or by `default`; all requests are kept to be looked at.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Says:
    """An answer in pieces; usage as the API tells it.

    `more` are events that come before the text; `cut` is into how many bytes at a time the stream is cut, 0 for one
    event at a time; the end waits for `until`.
    """

    pieces: Sequence[str]
    stop: str = "end_turn"
    input_tokens: int = 40
    cached_tokens: int = 900
    output_tokens: int = 12
    more: Sequence[dict[str, Any] | bytes] = ()
    cut: int = 0
    until: asyncio.Event | None = None


@dataclass(frozen=True, slots=True)
class Refuses:
    """An answer of another status than 200."""

    status: int
    retry_after: str | None = None
    date: str | None = None


@dataclass(frozen=True, slots=True)
class BreaksOff:
    """An answer that begins and then goes wrong.

    `how` is the type of an error event, or "drop" for a lost connection, "end" for one that ends early, "stall", which
    sends pings and nothing else until the caller leaves, or "silence", which does not even answer until then.
    """

    pieces: Sequence[str]
    how: str


Answer = Says | Refuses | BreaksOff


@dataclass(slots=True)
class ClaudeServer:
    """What the API was asked, and what it answers."""

    url: str = ""
    default: Answer = field(default_factory=lambda: Says(["Say ", "hello first."]))
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    open: int = 0  # requests that are being answered
    most_open: int = 0

    def script(self, *answers: Answer) -> None:
        """Answer the next requests so, and forget what was asked before."""
        self.answers[:], self.requests[:], self.headers[:] = list(answers), [], []
        self.left.clear()
        self.most_open = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; `left` is set when its caller goes before the end."""
        self.requests.append(await request.json())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        answer = self.answers.pop(0) if self.answers else self.default
        if isinstance(answer, Refuses):
            return _refusal(answer)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await _stream(request, answer)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        finally:
            self.open -= 1


@asynccontextmanager
async def serving_claude() -> AsyncIterator[ClaudeServer]:
    """Serve the API on a port of its own."""
    server = ClaudeServer()
    application = web.Application()
    application.router.add_post("/v1/messages", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()


def _refusal(answer: Refuses) -> web.Response:
    given = {"retry-after": answer.retry_after, "date": answer.date}
    headers = {name: value for name, value in given.items() if value}
    return web.json_response(_error(ERRORS[answer.status]), status=answer.status, headers=headers)


def _error(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": "as the test wants it"}, "request_id": "req_1"}


async def _stream(request: web.Request, answer: Says | BreaksOff) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8", "request-id": "req_1"})
    if isinstance(answer, BreaksOff) and answer.how == "silence":
        await asyncio.Event().wait()
    await response.prepare(request)
    says = answer if isinstance(answer, Says) else Says(answer.pieces)
    for part in _cut([*_opening(says), *_text(says)], says.cut):
        await response.write(part)
    if isinstance(answer, BreaksOff):
        await _break_off(request, response, answer.how)
        return response
    if says.until:
        await says.until.wait()
    for part in _cut(_closing(says), says.cut):
        await response.write(part)
    await response.write_eof()
    return response


def _text(says: Says) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": piece} for piece in says.pieces]
    return [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]


def _cut(events: Sequence[dict[str, Any] | bytes], size: int) -> list[bytes]:
    parts = [event if isinstance(event, bytes) else _written(event) for event in events]
    if not size:
        return parts
    whole = b"".join(parts)
    return [whole[place : place + size] for place in range(0, len(whole), size)]


async def _break_off(request: web.Request, response: web.StreamResponse, how: str) -> None:
    if how == "drop":
        assert request.transport is not None
        request.transport.abort()
    elif how == "stall":
        while True:
            await response.write(_written({"type": "ping"}))
            await asyncio.sleep(0.02)  # the API pings too while it has nothing to say
    elif how != "end":
        await response.write(_written(_error(how)))
        await response.write_eof()


def _opening(says: Says) -> list[dict[str, Any] | bytes]:
    usage = {
        "input_tokens": says.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": says.cached_tokens,
        "output_tokens": 1,
    }
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *says.more,
    ]


def _closing(says: Says) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": says.stop, "stop_sequence": None},
            "usage": {"output_tokens": says.output_tokens},
        },
        {"type": "message_stop"},
    ]


def _written(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
