"""Callers of sessions who go on whatever happens, and what became of their calls."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import grpc

from support.edge import Failure
from support.lateness import stopwatch
from support.limiters import Served
from support.stubs import Stubs
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch.session.v1 import session_service_pb2 as pb
from wingmanmatch.system.v1 import system_service_pb2

PAUSE = 0.01  # seconds between two calls of a caller
SESSION_PAUSE = 0.02  # the same for who only opens sessions
PATIENCE = 5.0
REDIS_BREAKERS = ("redis", "rate_limiter", "catalogue_cache")


class HasClient(Protocol):
    """What calls go to: a server in this process or in another."""

    @property
    def client(self) -> Stubs:
        """Its stubs."""


async def create(served: HasClient, patience: float = PATIENCE, user_id: str | None = None) -> str:
    """Open a session and return its token."""
    request = pb.CreateSessionRequest(user_id=user_id or str(uuid.uuid4()))
    return str((await served.client.session.CreateSession(request, timeout=patience)).token)


async def read(served: HasClient, token: str, patience: float = PATIENCE) -> str:
    """Return the id of a session."""
    request = pb.GetSessionRequest(token=token)
    return str((await served.client.session.GetSession(request, timeout=patience)).session.id)


async def write(served: HasClient, token: str, patience: float = PATIENCE) -> None:
    """Change a session."""
    await served.client.session.UpdateSession(pb.UpdateSessionRequest(token=token, data={"a": "b"}), timeout=patience)


async def limited(served: HasClient) -> None:
    """Spend from a rate limit."""
    await served.client.rate_limit.CheckRateLimit(limit_request(), timeout=PATIENCE)


def limit_request() -> rate_limit_service_pb2.CheckRateLimitRequest:
    """Return a request that spends from the limit of somebody new."""
    descriptors = [rate_limit_pb2.RateLimitDescriptor(policy="public_api", subject=str(uuid.uuid4()))]
    return rate_limit_service_pb2.CheckRateLimitRequest(descriptors=descriptors)


class Outcomes:
    """How calls ended: OK, or code and reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    async def of(self, call: Awaitable[Any]) -> bool:
        """Await a call and count how it ended; return whether it was served."""
        try:
            await call
        except grpc.aio.AioRpcError as error:
            failure = Failure(error)
            self.counts[f"{failure.code.name} {failure.reason if failure.details else ''}".strip()] += 1
            return False
        self.counts["OK"] += 1
        return True

    @property
    def failed(self) -> int:
        """How many were not served."""
        return self.counts.total() - self.counts["OK"]


@asynccontextmanager
async def calling(*callers: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
    """Let each caller call again and again for the length of the context; let the last calls end."""
    ended = asyncio.Event()

    async def go_on(call: Callable[[], Awaitable[Any]]) -> None:
        while not ended.is_set():
            with suppress(grpc.aio.AioRpcError):
                await call()
            await asyncio.sleep(PAUSE)

    tasks = [asyncio.create_task(go_on(each)) for each in callers]
    try:
        yield
    finally:
        ended.set()
        await asyncio.gather(*tasks)


def changes(served: Served, breaker: str) -> dict[str, int]:
    """Return how often a breaker changed to each state."""
    states = {
        state: int(served.sample("wingmanmatch_circuit_changes_total", dependency=breaker, state=state))
        for state in ("open", "half_open", "closed")
    }
    return {state: count for state, count in states.items() if count}


async def unhealthy(served: HasClient) -> set[str]:
    """Return the dependencies that GetStatus reports as unhealthy."""
    report = await served.client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=PATIENCE)
    return {each.name for each in report.dependencies if not each.healthy}


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Return once the condition holds; fail if it does not in so many seconds that this process had."""
    async with stopwatch() as watch:
        started = watch.now()
        while not await condition():
            assert watch.now() - started < seconds, f"{condition} does not hold"
            await asyncio.sleep(PAUSE)


class Sessions:
    """What was acknowledged, and when."""

    def __init__(self, served: HasClient) -> None:
        self.acknowledged: list[tuple[float, str]] = []
        self.failed = 0
        self._served = served
        self._ended = False

    async def go_on(self) -> None:
        """Open sessions until the end, and note each that was acknowledged."""
        while not self._ended:
            started = time.monotonic()
            try:
                token = await create(self._served, user_id=str(uuid.uuid4()))
                self.acknowledged.append((started, token))
            except grpc.aio.AioRpcError:
                self.failed += 1
            await asyncio.sleep(SESSION_PAUSE)

    def end(self) -> None:
        """Let the calls under way be the last."""
        self._ended = True

    async def lost(self) -> list[float]:
        """Return when those calls began whose sessions are not there, though acknowledged."""
        lost = []
        for started, token in self.acknowledged:
            try:
                await read(self._served, token)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                    raise
                lost.append(started)
        return lost
