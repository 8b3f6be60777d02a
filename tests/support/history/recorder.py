"""Records every call of many callers, and what each was told."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from support.history.operations import NEVER, Operation, Outcome, Refusal

# With these statuses the effect of a call may have come, or may still come. INTERNAL is no answer either.
NO_ANSWER = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}
PATIENCE = 5.0  # seconds that a caller waits for an answer

Send = Callable[[], Awaitable[Any]]


class Recorder:
    """The history so far. Times are seconds since the recorder was made, of a monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        """`wall` is the clock that the server's databases read; the two are compared once."""
        self.operations: list[Operation] = []
        self.statuses: Counter[str] = Counter()
        self._clock = clock
        self._began = clock()
        self._wall_began = wall()

    def now(self) -> float:
        """Return the time."""
        return self._clock() - self._began

    def from_wall(self, milliseconds: int) -> float:
        """Return a time of the databases, in milliseconds since 1970, as a time of this history."""
        return milliseconds / 1000 - self._wall_began

    def to_wall(self, seconds: float) -> int:
        """Return a time of this history in milliseconds since 1970."""
        return round((seconds + self._wall_began) * 1000)

    async def call(
        self,
        caller: int,
        key: str,
        name: str,
        send: Send,
        view: Callable[[Any], Any],
        *,
        again: Callable[[], Awaitable[bool]] | None = None,
        **arguments: Hashable,
    ) -> Operation:
        """Make a call, record it and return it. `view` says what of the response the models know.

        Where the outcome is unknown `again` is waited for, and if it returns true the same request is sent again:
        `send` must carry a request_id then, which makes of both one operation.
        """
        first = await self._attempt(Operation(caller, key, name, 0.0, NEVER, Outcome.UNKNOWN, arguments), send, view)
        last = first
        while last.unknown and again and await again():
            last = await self._attempt(last, send, view)
        recorded = joined(first, last)
        self.operations += recorded
        return recorded[-1]

    async def _attempt(self, operation: Operation, send: Send, view: Callable[[Any], Any]) -> Operation:
        start = self.now()
        outcome, result = await self._outcome(send, view)
        end = NEVER if outcome is Outcome.UNKNOWN else self.now()
        return replace(operation, start=start, end=end, outcome=outcome, result=result)

    async def _outcome(self, send: Send, view: Callable[[Any], Any]) -> tuple[Outcome, Any]:
        try:
            response = await send()
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            self.statuses[f"{error.code().name} {refusal.reason}".strip()] += 1
            return (Outcome.UNKNOWN, None) if error.code() in NO_ANSWER else (Outcome.REFUSED, refusal)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            self.statuses["CANCELLED"] += 1  # by a channel whose connection was cut
            return Outcome.UNKNOWN, None
        self.statuses["OK"] += 1
        return Outcome.OK, view(response)


def joined(first: Operation, last: Operation) -> list[Operation]:
    """Return what the attempts of one request amount to.

    The request_id gives them one effect, at some instant of them all. Only where the last was refused that is not so:
    an earlier one may have had its effect before the reason for the refusal came, so it stays unknown beside it.
    """
    if first is last or last.unknown:
        return [first]
    if last.ok:
        return [replace(last, start=first.start)]
    return [first, last]


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Return why a call failed, by its ErrorInfo; without one by an empty reason."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return Refusal(info.reason, tuple(sorted(info.metadata.items())))
    return Refusal("")
