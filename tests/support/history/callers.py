"""Callers that keep a server busy, and what all of them share: the recorder, the end of the run, and patience."""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Protocol

import grpc

from support.history.operations import Operation
from support.history.recorder import NO_ANSWER, PATIENCE, Recorder
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_service_pb2 as matching
from wingmanmatch.ratelimit.v1.rate_limit_pb2 import RateLimitDescriptor
from wingmanmatch.ratelimit.v1.rate_limit_service_pb2 import PeekRateLimitRequest
from wingmanmatch.session.v1 import session_service_pb2 as session

PAUSE = (0.005, 0.03)  # seconds between two calls of one caller
PROBE_PAUSE = 0.2
TRIES_AGAIN = 0.7  # how often a caller repeats a request whose answer was lost


class Scene(Protocol):
    """One area's keys, and what callers do to them."""

    async def act(self, caller: "Caller") -> None:
        """Let a caller do one thing."""
        ...

    async def look(self, caller: "Caller") -> None:
        """Read all that was written, so that a change lost at the very end is seen."""
        ...


class Caller:
    """One caller, who makes one call after another. `source` decides all it does."""

    def __init__(self, number: int, stubs: Stubs, recorder: Recorder, source: random.Random, over: asyncio.Event) -> None:
        self.number = number
        self.stubs = stubs
        self.recorder = recorder
        self.source = source
        self.over = over

    async def live(self, scenes: Sequence[Scene], weights: Sequence[float]) -> None:
        """Call until the run is over."""
        while not self.over.is_set():
            (scene,) = self.source.choices(scenes, weights)
            await scene.act(self)
            await asyncio.sleep(self.source.uniform(*PAUSE))

    def new_id(self) -> str:
        """Return a random UUID."""
        return new_id(self.source)

    async def call(
        self,
        key: str,
        name: str,
        method: Any,
        request: Any,
        view: Callable[[Any], Any],
        *,
        insist: float = 0.0,
        **arguments: Hashable,
    ) -> Operation:
        """Make a call and record it; a request with a request_id is sent again with the probability `insist`.

        After an unknown outcome the caller first waits until the dependency answers: a crowd that goes on writing into
        an outage would leave nothing but unknown operations, which prove nothing.
        """
        area = key.partition(" ")[0]
        answers = {"session": self.redis_answers, "limit": self.limits_answer}.get(area, self.database_answers)

        async def again() -> bool:
            wanted = self.source.random() < insist
            return await self.until(answers) and wanted

        async def send() -> Any:
            return await method(request, timeout=PATIENCE)

        return await self.recorder.call(self.number, key, name, send, view, again=again, **arguments)

    async def until(self, answers: Callable[[], Awaitable[bool]]) -> bool:
        """Wait until a dependency answers; return False if the run is over before."""
        while not self.over.is_set():
            if await answers():
                return True
            await asyncio.sleep(PROBE_PAUSE)
        return False

    async def redis_answers(self) -> bool:
        """Return whether sessions are answered for."""
        return await answered(self.stubs.session.GetSession(session.GetSessionRequest(token="none"), timeout=1))

    async def limits_answer(self) -> bool:
        """Return whether rate limits are answered for."""
        asked = RateLimitDescriptor(policy="public_api", subject="probe", cost=0)
        return await answered(self.stubs.rate_limit.PeekRateLimit(PeekRateLimitRequest(descriptors=[asked]), timeout=1))

    async def database_answers(self) -> bool:
        """Return whether matches are answered for."""
        nobody = str(uuid.UUID(int=0))
        request = matching.GetMatchRequest(match_id=nobody, user_id=self.new_id())
        return await answered(self.stubs.matching.GetMatch(request, timeout=1))


async def answered(call: Awaitable[Any]) -> bool:
    """Return whether a call is answered, be it by a refusal."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code() not in NO_ANSWER
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        return False
    return True


def new_id(source: random.Random) -> str:
    """Return a random UUID."""
    return str(uuid.UUID(int=source.getrandbits(128), version=4))
