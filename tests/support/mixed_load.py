"""Callers of every service through a load balancer, who retry as the client's README says and keep count."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from support.requests import profile
from support.watchers import Watcher
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_pb2
from wingmanmatch_client import Client, WingmanMatchError, connect

ATTEMPTS = 4
DELAYS = (0.2, 0.6, 1.8)  # seconds before each further attempt
PACE = 0.02  # seconds between two calls of one caller
SHARED = rate_limit_pb2.RateLimitDescriptor(policy="shared", subject="everybody", cost=1)
# The client's own retries are switched off, so that they can be made here and counted.
WITHOUT_RETRIES = (("grpc.enable_retries", 0),)
Method = Callable[..., Awaitable[Any]]


@dataclass
class Load:
    """What callers have seen. `failed` and `wrong` have a sentence for each failed call and each wrong answer."""

    done: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    granted: int = 0
    denied: int = 0
    degraded: int = 0
    rounds: int = 0
    taking_since: float | None = None  # monotonic seconds of the first answer about the shared bucket
    stopping: bool = False
    callers: list[asyncio.Task[None]] = field(default_factory=list)

    async def finish(self) -> None:
        """Let each caller end its round, and return when all have."""
        self.stopping = True
        await asyncio.gather(*self.callers)

    async def call(self, method: Method, **fields: Any) -> Any:
        """Make a call and return its answer; repeat it with the same `request_id` while it is UNAVAILABLE."""
        name = method.__name__
        for attempt in range(ATTEMPTS):
            try:
                answer = await method(**fields)
            except WingmanMatchError as error:
                if error.code is not grpc.StatusCode.UNAVAILABLE or attempt == ATTEMPTS - 1:
                    self.failed.append(f"{name}: {error.code.name} {error}")
                    raise
                self.retried[f"{name} {error.reason or error.message}"] += 1
                if error.request_id:
                    fields["request_id"] = error.request_id
                await asyncio.sleep(DELAYS[attempt] if error.retry_after is None else error.retry_after)
            else:
                self.done[name] += 1
                await asyncio.sleep(PACE)
                return answer
        raise AssertionError

    def expect(self, what: str, found: object, expected: object) -> None:
        """Note a wrong answer unless both are equal."""
        if found != expected:
            self.wrong.append(f"{what}: {found!r} instead of {expected!r}")


class Caller:
    """A backend that lets one person, the host, meet somebody new again and again."""

    def __init__(self, client: Client, load: Load, place: int) -> None:
        """`place` keeps the people of two callers apart."""
        self.host = str(uuid.uuid4())
        self._client = client
        self._load = load
        self._location = {"latitude": -60.0 + 10 * place, "longitude": 16.37}
        self._meetups = 0

    async def join(self, user_id: str) -> None:
        """Create a profile, and read it."""
        written = profile(user_id=user_id, email=f"{user_id}@example.org", location=self._location)
        await self._load.call(self._client.matching.upsert_profile, profile=written)
        read = await self._load.call(self._client.matching.get_profile, user_id=user_id)
        self._load.expect("e-mail of a profile", read.profile.email, written.email)

    async def call_until_stopped(self) -> None:
        """Go from round to round; a call that fails ends its round."""
        while not self._load.stopping:
            try:
                await self.one_round()
            except WingmanMatchError:
                await asyncio.sleep(PACE)
            self._load.rounds += 1

    async def one_round(self) -> None:
        """Let the host meet somebody new, who also has a session, and take from the shared bucket in between."""
        guest = str(uuid.uuid4())
        await self.join(guest)
        await self._take()
        await self._meet(guest)
        await self._take()
        await self._use_session(guest)
        listed = await self._load.call(self._client.challenge.list_challenges, page_size=5)
        self._load.expect("challenges of a page", len(listed.challenges), 5)

    async def _meet(self, guest: str) -> None:
        call, matching = self._load.call, self._client.matching
        match = (await call(matching.request_match, user_id=self.host, candidate_user_id=guest)).match
        declines = self._load.rounds % 4 == 3
        response = matching_pb2.MATCH_RESPONSE_DECLINE if declines else matching_pb2.MATCH_RESPONSE_ACCEPT
        await call(matching.respond_to_match, match_id=match.id, user_id=guest, response=response)
        read = (await call(matching.get_match, match_id=match.id, user_id=self.host)).match
        state = matching_pb2.MATCH_STATE_DECLINED if declines else matching_pb2.MATCH_STATE_ACCEPTED
        self._load.expect("state of a match", read.state, state)
        if not declines:
            await self._schedule(match.id, guest)

    async def _schedule(self, match_id: str, guest: str) -> None:
        call, meetups = self._load.call, self._client.meetup
        self._meetups += 1
        start = datetime.now(UTC) + timedelta(days=3, hours=3 * self._meetups)
        fields = {"match_id": match_id, "user_id": self.host, "venue_name": "Prater", "scheduled_time": start}
        meetup = (await call(meetups.schedule_meetup, **fields)).meetup
        read = (await call(meetups.get_meetup, meetup_id=meetup.id, user_id=guest)).meetup
        self._load.expect("a meetup", read, meetup)
        if self._meetups % 3 == 0:
            await call(meetups.cancel_meetup, meetup_id=meetup.id, user_id=guest)

    async def _use_session(self, user_id: str) -> None:
        call, sessions = self._load.call, self._client.session
        token = (await call(sessions.create_session, user_id=user_id, data={"step": 1})).token
        read = (await call(sessions.get_session, token=token)).session
        self._load.expect("a new session", (read.version, dict(read.data)), (1, {"step": 1}))
        await call(sessions.update_session, token=token, data={"step": 2}, expected_version=1)
        await call(sessions.touch_session, token=token, ttl=timedelta(hours=2))
        read = (await call(sessions.get_session, token=token)).session
        self._load.expect("a changed session", (read.version, dict(read.data)), (2, {"step": 2}))
        listed = await call(sessions.list_sessions, user_id=user_id)
        self._load.expect("sessions of a person", [each.id for each in listed.sessions], [read.id])

    async def _take(self) -> None:
        answer = await self._load.call(self._client.rate_limit.check_rate_limit, descriptors=[SHARED])
        self._load.taking_since = self._load.taking_since or time.monotonic()
        self._load.degraded += answer.degraded
        self._load.granted += answer.allowed
        self._load.denied += not answer.allowed


@asynccontextmanager
async def mixed_load(port: int, callers: int) -> AsyncIterator[tuple[Load, list[Watcher]]]:
    """Yield what callers see, who call until `Load.finish`, and two watchers of each caller's host."""
    load = Load()
    async with AsyncExitStack() as stack:
        running = stack.enter_async_context
        clients = [await running(connect(f"127.0.0.1:{port}", options=WITHOUT_RETRIES)) for _ in range(callers)]
        backends = [Caller(client, load, place) for place, client in enumerate(clients)]
        await asyncio.gather(*(each.join(each.host) for each in backends))
        pairs = zip(clients, backends, strict=True)
        watchers = [Watcher(client, backend.host) for client, backend in pairs for _ in range(2)]
        stack.push_async_callback(_cancel, *(watcher.task for watcher in watchers))
        await asyncio.gather(*(watcher.opened.wait() for watcher in watchers))
        load.callers = [asyncio.create_task(each.call_until_stopped()) for each in backends]
        stack.push_async_callback(_cancel, *load.callers)
        yield load, watchers


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
