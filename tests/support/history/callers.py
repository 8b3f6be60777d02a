"""Callers that keep a server busy, and what all of them share: the recorder, the end of the run, and patience."""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Protocol

import grpc

from support.history.operations import Operation
from support.history.recorder import NO_ANSWER, PATIENCE, Recorder
from support.stubs import Stubs

PAUSE = (0.002, 0.02)  # seconds between two calls of one caller
PROBE_PAUSE = 0.2
PING_PATIENCE = 1.0
TRIES_AGAIN = 0.7  # how often a caller repeats a request whose answer was lost


class Scene(Protocol):
    """One area's keys, and what callers do to them."""

    def ping(self, caller: "Caller") -> Awaitable[Any]:
        """Make a call that changes nothing and is answered, be it by a refusal, if the area's dependency works."""
        ...

    async def act(self, caller: "Caller") -> None:
        """Let a caller do one thing."""
        ...

    async def look(self, caller: "Caller") -> None:
        """Read all that was written, so that a change lost at the very end is seen."""
        ...


class Caller:
    """One caller, who makes one call after another. `source` decides all it does."""

    def __init__(
        self,
        number: int,
        scene: Scene,
        stubs: Stubs,
        recorder: Recorder,
        source: random.Random,
        over: asyncio.Event,
    ) -> None:
        self.number = number
        self.scene = scene
        self.stubs = stubs
        self.recorder = recorder
        self.source = source
        self.over = over

    async def live(self) -> None:
        """Call until the run is over."""
        while not self.over.is_set():
            await self.scene.act(self)
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

        async def again() -> bool:
            wanted = self.source.random() < insist
            return await self.until(self.answers) and wanted

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

    async def answers(self) -> bool:
        """Return whether the area is answered for."""
        return await answered(self.scene.ping(self))


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
