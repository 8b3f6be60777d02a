"""Sends what many callers ask at about the same time as one batch.

An RPC reaches Python as several small events, one a turn of the event loop, so that what happens "in the same tick" is
hardly ever more than one call. A batch is therefore sent once the loop has turned a few times without a newcomer: at
high load that gathers dozens, and turning costs microseconds.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

QUIET_TURNS = 8
LONGEST_WAIT = 0.003  # seconds
LARGEST_BATCH = 512  # by weight
# Below this average size of batches there is nobody to wait for.
LONELY = 1.1
SMOOTHING = 0.2


class Coalescer(Generic[Item, Answer]):
    """One batch is under way at a time; what comes meanwhile is the next. A lone caller is not made to wait."""

    def __init__(
        self,
        send: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception]]],
        weigh: Callable[[Item], int] = lambda _item: 1,
        on_batch: Callable[[int], None] = lambda _size: None,
        largest: int = LARGEST_BATCH,
    ) -> None:
        """`send` answers a batch, item by item; what it raises answers the batch and everything that waits behind it.

        A batch ends with the item that brings its weight to `largest`. `on_batch` is told how many items each has.
        """
        self._send = send
        self._weigh = weigh
        self._on_batch = on_batch
        self._largest = largest
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._weight = 0  # of those who wait
        self._task: asyncio.Task[None] | None = None
        self._gathering = False
        self._usual = 1.0  # the size of late batches, on average

    def submit(self, item: Item) -> "asyncio.Future[Answer]":
        """Return what will hold the answer. Call it on the event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        self._weight += self._weigh(item)
        if not self._gathering and self._task is None:
            self._gather(loop)
        return future

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        self._gathering = True
        self._seen, self._quiet, self._since = len(self._waiting), 0, time.monotonic()
        self._needed = 1 if self._usual < LONELY else QUIET_TURNS
        loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        # The thread that brings gRPC's events may be waiting for this very processor.
        if self._weight < self._largest:
            os.sched_yield()
        count = len(self._waiting)
        self._quiet = self._quiet + 1 if count == self._seen else 0
        self._seen = count
        if self._quiet < self._needed and self._weight < self._largest and self._patient():
            loop.call_soon(self._turn, loop)
            return
        batch = self._take()
        self._gathering = False
        self._usual += (len(batch) - self._usual) * SMOOTHING
        self._on_batch(len(batch))
        self._task = loop.create_task(self._run(batch))

    def _patient(self) -> bool:
        return time.monotonic() - self._since < LONGEST_WAIT

    def _take(self) -> "list[tuple[Item, asyncio.Future[Answer]]]":
        weight, size = 0, 0
        for item, _ in self._waiting:
            weight, size = weight + self._weigh(item), size + 1
            if weight >= self._largest:
                break
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        self._weight -= weight
        return batch

    async def _run(self, batch: "list[tuple[Item, asyncio.Future[Answer]]]") -> None:
        try:
            answers = await self._send([item for item, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                _settle(future, answer)
        except asyncio.CancelledError:
            self._fail_all(batch, ConnectionAbortedError("the sender was stopped"))
            raise
        except Exception as error:  # noqa: BLE001 - whoever asked has to be told, whatever it was
            self._fail_all(batch, error)
        finally:
            self._task = None
            if self._waiting:
                self._gather(asyncio.get_running_loop())

    def _fail_all(self, batch: "list[tuple[Item, asyncio.Future[Answer]]]", error: Exception) -> None:
        """Fail the batch, and those behind it: they would only wait to find out the same."""
        waiting, self._waiting, self._weight = self._waiting, [], 0
        for _, future in (*batch, *waiting):
            _settle(future, error)


def _settle(future: "asyncio.Future[Answer]", answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
