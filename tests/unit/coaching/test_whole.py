"""Work that is done to its end, whoever leaves."""

import asyncio

import pytest

from wingmanmatch_server.coaching.coach import whole


async def test_work_outlives_every_cancellation() -> None:
    """However often it comes; then it is obeyed."""
    begun, end, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await end.wait()
        done.append(True)

    task = asyncio.ensure_future(whole(work()))
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_outcome_is_the_works() -> None:
    """What it returns or raises."""

    async def work(outcome: str) -> str:
        await asyncio.sleep(0)
        return {"good": "good"}[outcome]

    assert await whole(work("good")) == "good"
    with pytest.raises(KeyError):
        await whole(work("bad"))
