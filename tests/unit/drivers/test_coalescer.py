"""One batch at a time, nobody waits for nobody."""

import asyncio
from collections.abc import Sequence

import pytest

from wingmanmatch_server.drivers.coalescer import LARGEST_BATCH, Coalescer


class Sender:
    """Answers each number with its double once it is let go; keeps the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.most_under_way = 0
        self.error: Exception | None = None

    async def __call__(self, batch: list[int]) -> Sequence[int | Exception]:
        """Send a batch."""
        self.batches.append(batch)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if self.error:
            raise self.error
        return [ValueError(f"{item}") if item < 0 else item * 2 for item in batch]


async def test_what_comes_together_goes_together() -> None:
    """A hundred items of one turn are one batch, and each gets its own answer."""
    sender = Sender()
    coalescer = Coalescer(sender)
    assert await asyncio.gather(*(coalescer.submit(item) for item in range(100))) == [item * 2 for item in range(100)]
    assert len(sender.batches) == 1


async def test_one_batch_is_under_way_at_a_time() -> None:
    """What comes while a batch is under way is the next one."""
    sender = Sender()
    sender.gate.clear()
    coalescer = Coalescer(sender)
    first = coalescer.submit(0)
    while not sender.batches:
        await asyncio.sleep(0)
    rest = [coalescer.submit(item) for item in range(1, 20)]
    for _ in range(50):
        await asyncio.sleep(0)
    sender.gate.set()
    await asyncio.gather(first, *rest)
    assert (sender.batches, sender.most_under_way) == ([[0], list(range(1, 20))], 1)


async def test_a_lone_caller_does_not_wait_for_others() -> None:
    """Where the last batch was a single item, the next is sent after two turns of the loop."""
    sender = Sender()
    coalescer = Coalescer(sender)
    await coalescer.submit(1)
    future, turns = coalescer.submit(2), 0
    while not future.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns <= 5


async def test_batches_are_bounded_by_weight() -> None:
    """Too much for one batch goes in several, in order; a heavy item goes all the same."""
    sender = Sender()
    coalescer = Coalescer(sender, weigh=lambda item: item)
    await asyncio.gather(*(coalescer.submit(item) for item in (LARGEST_BATCH - 1, 1, 5, 2 * LARGEST_BATCH, 7)))
    assert sender.batches == [[LARGEST_BATCH - 1, 1], [5, 2 * LARGEST_BATCH], [7]]


async def test_a_full_batch_waits_for_nobody() -> None:
    """Where others are usual, a batch that is full already goes at once all the same."""
    sender = Sender()
    coalescer = Coalescer(sender, weigh=lambda item: item)
    await asyncio.gather(*(coalescer.submit(1) for _ in range(100)))
    sender.batches.clear()
    waiting, turns = coalescer.submit(LARGEST_BATCH), 0
    while not sender.batches:
        await asyncio.sleep(0)
        turns += 1
    assert turns <= 3
    assert await waiting == 2 * LARGEST_BATCH


async def test_errors_reach_their_own_caller() -> None:
    """An item that fails fails alone."""
    coalescer = Coalescer(Sender())
    results = await asyncio.gather(*(coalescer.submit(item) for item in (1, -1, 2)), return_exceptions=True)
    assert results[0::2] == [2, 4]
    assert isinstance(results[1], ValueError)


async def test_a_failed_batch_fails_those_behind_it() -> None:
    """Those that waited would only wait to find out the same; the next caller is served."""
    sender = Sender()
    sender.gate.clear()
    coalescer = Coalescer(sender)
    futures = [coalescer.submit(1)]
    while not sender.batches:
        await asyncio.sleep(0)
    futures += [coalescer.submit(2), coalescer.submit(3)]
    sender.error = ConnectionError("away")
    sender.gate.set()
    assert [type(each) for each in await asyncio.gather(*futures, return_exceptions=True)] == [ConnectionError] * 3
    assert len(sender.batches) == 1
    sender.error = None
    assert await coalescer.submit(4) == 8


async def test_a_caller_who_left_harms_nobody() -> None:
    """A cancelled caller's item is sent, and the others get their answers."""
    coalescer = Coalescer(Sender())
    first, second = coalescer.submit(1), coalescer.submit(2)
    first.cancel()
    assert await second == 4
    with pytest.raises(asyncio.CancelledError):
        await first
