"""How requests come out of the wire: in time, and decoded.

A call occupies its stream from its headers on, and grpc.aio waits for the request of a unary RPC for as long as the
connection lives. A call handled as a stream, whose first message is read here, can be ended. That costs a twentieth of
a small call, so known callers' calls are left to grpc.aio for as long as few of them wait.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError, Message

from wingmanmatch_server import errors

PATIENCE = 15.0  # seconds for a request of a megabyte at most
CHECK_INTERVAL = 5.0  # seconds; a request is waited for up to so much longer than PATIENCE
MAX_UNTIMED = 256  # calls whose requests grpc.aio waits for; more than a busy process has at any moment


class Undecodable(Message):
    """Stands for request bytes that are not the message they should be."""


class Missing(Message):
    """Stands for a request that did not come in time."""


UNDECODABLE = Undecodable()
MISSING = Missing()


class RequestReader:
    """Reads requests, each for at most `PATIENCE` seconds.

    One timer serves all: a timer for each call would cost a tenth of what a small call costs.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns monotonic seconds."""
        self._clock = clock
        self._waiting: dict[asyncio.Task[Any], float] = {}  # in the order in which they began
        self._timer: asyncio.TimerHandle | None = None
        self._untimed: set[asyncio.Task[Any] | None] = set()
        self._untimed_checked = -CHECK_INTERVAL

    def leave(self) -> bool:
        """Leave it to grpc.aio to wait for the request of the current task's call; False where too many are so left."""
        if len(self._untimed) >= MAX_UNTIMED and not self.has_room():
            return False
        self._untimed.add(asyncio.current_task())
        return True

    def arrived(self) -> None:
        """Note that the request came for which it was left to grpc.aio to wait."""
        self._untimed.discard(asyncio.current_task())

    def has_room(self) -> bool:
        """Tell whether more may be left to grpc.aio; calls that ended without a request are noticed within 5 s."""
        now = self._clock()
        if now - self._untimed_checked >= CHECK_INTERVAL:
            self._untimed_checked = now
            self._untimed = {task for task in self._untimed if task is not None and not task.done()}
        return len(self._untimed) < MAX_UNTIMED

    @property
    def waiting(self) -> int:
        """How many requests are waited for."""
        return len(self._waiting)

    async def read(self, requests: AsyncIterator[Any], at_end: Any = UNDECODABLE) -> Any:
        """Return the next request, `at_end` where the client has sent all, and MISSING where it is not in time."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = self._clock()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_INTERVAL, self._check)
        try:
            return await anext(requests, at_end)
        except asyncio.CancelledError:
            # Whoever is no longer among those who wait was cancelled here, and perhaps by the client as well.
            if task in self._waiting or task.uncancel():
                raise
            return MISSING
        finally:
            self._waiting.pop(task, None)

    def end_overdue(self) -> None:
        """Stop waiting for the requests that are not in time."""
        began_by = self._clock() - PATIENCE
        for task in [task for task, began in self._waiting.items() if began <= began_by]:
            del self._waiting[task]
            task.cancel()

    def _check(self) -> None:
        self.end_overdue()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CHECK_INTERVAL, self._check) if self._waiting else None


def decoded(request: Any) -> Any:
    """Return the request. Raises errors.InvalidArgument for UNDECODABLE and errors.DeadlineExceeded for MISSING."""
    if request is UNDECODABLE:
        message = "the request's bytes are not the message of this method"
        raise errors.InvalidArgument((), "REQUEST_UNDECODABLE", message)
    if request is MISSING:
        message = f"no request came within {PATIENCE:g} s of the call's headers"
        raise errors.DeadlineExceeded("DEADLINE_EXCEEDED", message)
    return request


def deserializer(message: type[Message]) -> Callable[[bytes], Message]:
    """Return what makes requests of bytes, and UNDECODABLE of those that are none."""
    parse = message.FromString

    def deserialize(data: bytes) -> Message:
        # An exception here would reach the client with its class and text.
        try:
            return parse(data)
        except DecodeError:
            return UNDECODABLE

    return deserialize
