"""Resend's API as the server uses it, after its documentation, with a ledger of what it took.

It keeps idempotency keys as Resend does: the same key with the same body gets the first answer again and sends nothing;
with another body, or while the first request is under way, it is refused. `misbehave` takes the next requests away from
it. Nothing of what it does depends on the server that is tested, and as a program it serves tests in any language.
"""

import argparse
import asyncio
import hashlib
import json
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

KEY = "re_only_for_tests"
LONGEST_KEY = 256
REQUIRED = ("from", "to", "subject")


@dataclass(frozen=True)
class Accepted:
    """A mail that is out: Resend's id for it, the key it came under, and the body as it was sent."""

    id: str
    key: str | None
    body: Mapping[str, Any]

    @property
    def notification_id(self) -> str:
        """The id that its tag carries."""
        return next(tag["value"] for tag in self.body["tags"] if tag["name"] == "notification_id")


class Drop(Exception):
    """Close the connection instead of answering."""


# What takes a request away: may answer it, may call what handles it properly, may raise Drop.
Handle = Callable[[web.Request], Awaitable[web.Response]]
Behaviour = Callable[[web.Request, Handle], Awaitable[web.Response]]


class ResendServer:
    """An account at Resend with one key."""

    def __init__(self, *, per_second: int | None = None, delay: float = 0.0) -> None:
        """Take at most `per_second` requests in each second, and `delay` seconds over each."""
        self.ledger: list[Accepted] = []
        self.requests: list[tuple[str | None, bytes]] = []  # the key and the body of each, refused ones too
        self.api_keys: list[str] = []
        self.replays = 0
        self.connections = 0
        self.url = ""
        self.domains: set[str] | None = None  # those that are verified; None for all
        self.delay = delay
        self._per_second = per_second
        self._window = (0, 0)
        self._behaviours: deque[Behaviour] = deque()
        self._known: dict[str, tuple[str, str | None]] = {}
        self._grown = asyncio.Condition()

    def misbehave(self, *behaviours: Behaviour) -> None:
        """Let each of `behaviours` have one of the next requests."""
        self._behaviours.extend(behaviours)

    def behave(self) -> None:
        """Let every request have what it is due, from now on."""
        self._behaviours.clear()

    async def took(self, count: int) -> list[Accepted]:
        """Return the ledger once it has `count` mails."""
        async with self._grown:
            await self._grown.wait_for(lambda: len(self.ledger) >= count)
        return self.ledger

    async def asked(self, count: int) -> None:
        """Wait until `count` requests have come."""
        async with self._grown:
            await self._grown.wait_for(lambda: len(self.requests) >= count)

    async def send_email(self, request: web.Request) -> web.StreamResponse:
        """POST /emails."""
        self.requests.append((request.headers.get("Idempotency-Key"), await request.read()))
        async with self._grown:
            self._grown.notify_all()
        self.api_keys.append(request.headers.get("Authorization", ""))
        behaviour = self._behaviours.popleft() if self._behaviours else None
        try:
            return await (behaviour(request, self._send) if behaviour else self._send(request))
        except Drop:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

    async def show_ledger(self, _request: web.Request) -> web.Response:
        """GET /ledger, which Resend does not have: what was accepted, for programs in other processes."""
        return web.json_response([{"id": each.id, "key": each.key, "body": each.body} for each in self.ledger])

    async def take_behaviours(self, request: web.Request) -> web.Response:
        """POST /behaviours, which Resend does not have: `misbehave` for programs in other processes."""
        try:
            self.misbehave(*map(behaviour_of, await request.json()))
        except (KeyError, TypeError, ValueError):
            known = ", ".join(BEHAVIOURS)
            return web.Response(status=400, text=f"a list of {known}, or of objects with status, name and headers\n")
        return web.Response(status=204)

    async def _send(self, request: web.Request) -> web.Response:
        body = await request.read()
        refused = self._unidentified(request) or self._throttled()
        if refused:
            return refused
        key = request.headers.get("Idempotency-Key")
        if key is not None and not 1 <= len(key) <= LONGEST_KEY:
            return refusal(400, "invalid_idempotency_key")
        return await self._once(key, body) if key else await self._accept(None, body)

    async def _once(self, key: str, body: bytes) -> web.Response:
        digest = hashlib.sha256(body).hexdigest()
        known_digest, known_id = self._known.get(key, (digest, ""))
        if known_digest != digest:
            return refusal(409, "invalid_idempotent_request")
        if known_id is None:
            return refusal(409, "concurrent_idempotent_requests")
        if known_id:
            self.replays += 1
            return web.json_response({"id": known_id}, headers=self._limits())
        self._known[key] = digest, None
        try:
            response = await self._accept(key, body)
            if response.status == 200:
                self._known[key] = digest, json.loads(response.body)["id"]  # type: ignore[arg-type]
            return response
        finally:
            if self._known[key] == (digest, None):  # refused, or the client left before it was taken
                del self._known[key]

    async def _accept(self, key: str | None, raw: bytes) -> web.Response:
        body = json.loads(raw)
        missing = [name for name in REQUIRED if not body.get(name)]
        if missing:
            return refusal(422, "missing_required_field", f"Missing `{missing[0]}` field.")
        domain = body["from"].rpartition("@")[2].rstrip(">")
        if self.domains is not None and domain not in self.domains:
            return refusal(403, "validation_error", f"The {domain} domain is not verified.")
        await asyncio.sleep(self.delay)
        accepted = Accepted(str(uuid.uuid4()), key, body)
        async with self._grown:
            self.ledger.append(accepted)
            self._grown.notify_all()
        return web.json_response({"id": accepted.id}, headers=self._limits())

    def _unidentified(self, request: web.Request) -> web.Response | None:
        if "User-Agent" not in request.headers:
            return web.Response(status=403, text="error code: 1010")
        if "Authorization" not in request.headers:
            return refusal(401, "missing_api_key")
        return None if request.headers["Authorization"] == f"Bearer {KEY}" else refusal(403, "invalid_api_key")

    def _throttled(self) -> web.Response | None:
        if self._per_second is None:
            return None
        second, used = int(time.monotonic()), self._window[1] if self._window[0] == int(time.monotonic()) else 0
        self._window = second, used + 1
        if used < self._per_second:
            return None
        return refusal(429, "rate_limit_exceeded", headers=self._limits() | {"retry-after": "1"})

    def _limits(self) -> dict[str, str]:
        if self._per_second is None:
            return {}
        left = max(self._per_second - self._window[1], 0)
        return {"ratelimit-limit": str(self._per_second), "ratelimit-remaining": str(left), "ratelimit-reset": "1"}


def refusal(status: int, name: str, message: str = "refused", headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error as Resend writes it."""
    body = {"statusCode": status, "name": name, "message": message}
    return web.json_response(body, status=status, headers=headers)


def answer(status: int, name: str, **headers: str) -> Behaviour:
    """Refuse without looking at the request; underscores in header names are hyphens."""
    named = {header.replace("_", "-"): value for header, value in headers.items()}

    async def behave(_request: web.Request, _handle: Handle) -> web.Response:
        return refusal(status, name, headers=named)

    return behave


async def drop(_request: web.Request, _handle: Handle) -> web.Response:
    """Close the connection; nothing was accepted."""
    raise Drop


async def drop_after_accepting(request: web.Request, handle: Handle) -> web.Response:
    """Accept the mail, then close the connection without a word."""
    await handle(request)
    raise Drop


async def page_after_accepting(request: web.Request, handle: Handle) -> web.Response:
    """Accept the mail, and answer with a page that some proxy made."""
    await handle(request)
    return web.Response(text="<html>ok</html>", content_type="text/html")


async def stall(_request: web.Request, _handle: Handle) -> web.Response:
    """Take the request and never answer."""
    await asyncio.Event().wait()
    raise AssertionError


BEHAVIOURS: Mapping[str, Behaviour] = {
    "drop": drop,
    "drop_after_accepting": drop_after_accepting,
    "page_after_accepting": page_after_accepting,
    "stall": stall,
}


def behaviour_of(told: str | Mapping[str, Any]) -> Behaviour:
    """Return a behaviour by its name, or the refusal that {status, name, headers} describes. Raises KeyError."""
    if isinstance(told, str):
        return BEHAVIOURS[told]
    return answer(told["status"], told["name"], **told.get("headers", {}))


@asynccontextmanager
async def resend_server(*, port: int = 0, **options: Any) -> AsyncIterator[ResendServer]:
    """Serve an account on a port, one of its own unless it is given; `options` are ResendServer's."""
    server = ResendServer(**options)
    application = web.Application()
    application.router.add_post("/emails", server.send_email)
    application.router.add_get("/ledger", server.show_ledger)
    application.router.add_post("/behaviours", server.take_behaviours)
    seen: set[Any] = set()

    @web.middleware
    async def count_connections(request: web.Request, handler: Any) -> Any:
        seen.add(request.protocol)
        server.connections = len(seen)
        return await handler(request)

    application.middlewares.append(count_connections)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


async def serve(port: int, per_second: int | None, delay: float) -> None:
    """Serve until the process ends; print what to set."""
    async with resend_server(port=port, per_second=per_second, delay=delay) as server:
        print(f"RESEND_API_URL={server.url} RESEND_API_KEY={KEY}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="Play Resend on a loopback port, for programs in any language.")
    parser.add_argument("--port", type=int, default=0, help="one that is free by default")
    parser.add_argument("--per-second", type=int, help="how many requests a second; any number by default")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds over each mail")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(options.port, options.per_second, options.delay))


if __name__ == "__main__":
    main()
