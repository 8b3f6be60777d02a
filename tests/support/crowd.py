"""Callers that do what back ends do, and what they saw."""

import asyncio
import random
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.requests import profile
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_service_pb2 as matching
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch.session.v1 import session_service_pb2 as session

PAUSE = 0.01  # seconds between two calls of one caller
PATIENCE = 10.0
TEMPORARY = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}


@dataclass
class Record:
    """What callers saw in one phase; times in seconds."""

    name: str
    calm: bool
    codes: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    def row(self, memory: float, files: int) -> str:
        """Return its line of the table."""
        refused = " ".join(f"{code}:{count}" for code, count in self.codes.items() if code != "OK") or "-"
        cuts = statistics.quantiles(self.times, n=100) if len(self.times) > 1 else [0.0] * 99
        median, worst = cuts[49] * 1000, cuts[98] * 1000
        return f"{self.name:<34}{len(self.times):>8}{median:>9.1f}{worst:>10.1f}{memory:>8.0f}{files:>7}  {refused}"

    @property
    def broken(self) -> list[str]:
        """Return how it broke what must hold."""
        forbidden = {code for code in self.codes if code != "OK" and (self.calm or code not in TEMPORARY)}
        return [f"{self.name}: {self.codes[code]} calls ended by {code}" for code in sorted(forbidden)]


HEAD = f"{'phase':<34}{'calls':>8}{'p50 ms':>9}{'p99 ms':>10}{'RSS MB':>8}{'files':>7}  errors"


class Crowd:
    """Callers that do what back ends do, one call after another, and note how each ends."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.record = Record("start", calm=False)
        self.stubs = Stubs(channel)
        self.health = health_pb2_grpc.HealthStub(channel)

    async def call_for_ever(self, chance: random.Random) -> None:
        """Be one person's back end."""
        me, token = profile(user_id=str(uuid.UUID(int=chance.getrandbits(128), version=4))), ""
        await self._timed(self.stubs.matching.UpsertProfile, matching.UpsertProfileRequest(profile=me))
        asked = [rate_limit_pb2.RateLimitDescriptor(policy="public_api", subject=me.user_id)]
        calls = (
            (self.stubs.matching.UpsertProfile, lambda: matching.UpsertProfileRequest(profile=me)),
            (self.stubs.matching.ListCandidates, lambda: matching.ListCandidatesRequest(user_id=me.user_id)),
            (self.stubs.session.CreateSession, lambda: session.CreateSessionRequest(user_id=me.user_id)),
            (self.stubs.session.ListSessions, lambda: session.ListSessionsRequest(user_id=me.user_id)),
            (self.stubs.session.GetSession, lambda: session.GetSessionRequest(token=token)),
            (
                self.stubs.rate_limit.CheckRateLimit,
                lambda: rate_limit_service_pb2.CheckRateLimitRequest(descriptors=asked),
            ),
            (self.health.Check, health_pb2.HealthCheckRequest),
        )
        while True:
            call, request = chance.choice(calls)
            if call is self.stubs.session.GetSession and not token:
                continue
            response = await self._timed(call, request())
            if isinstance(response, session.CreateSessionResponse):
                token = response.token
                await self._timed(self.stubs.session.GetSession, session.GetSessionRequest(token=token))
            await asyncio.sleep(PAUSE)

    async def _timed(self, call: Callable[..., Awaitable[object]], request: object) -> object:
        record, started = self.record, time.perf_counter()
        try:
            response = await call(request, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            record.codes[error.code().name] += 1
            response = None
        else:
            record.codes["OK"] += 1
        record.times.append(time.perf_counter() - started)
        return response
