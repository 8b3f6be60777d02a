"""The budget is Redis's time, not the process's."""

import asyncio
import time

import pytest

from wingmanmatch_server import errors
from wingmanmatch_server.ratelimit.budget import BUDGET, budget


async def test_silence_ends_with_the_budget() -> None:
    """What does not come is waited for as long as the budget says."""
    started = time.perf_counter()
    with pytest.raises(errors.Unavailable) as raised:
        async with budget():
            await asyncio.Event().wait()
    assert raised.value.reason == "REDIS_UNAVAILABLE"
    assert time.perf_counter() - started > BUDGET - 0.002


async def test_a_held_up_process_waits_on() -> None:
    """While nothing of the process runs, Redis cannot be found late: what comes soon after that still counts."""
    loop, answer = asyncio.get_running_loop(), asyncio.Event()
    loop.call_soon(time.sleep, 3 * BUDGET)
    loop.call_later(3 * BUDGET + 0.01, answer.set)
    async with budget():
        await answer.wait()


async def test_a_process_held_up_again_and_again_ends_in_the_end() -> None:
    """A turn that takes long counts as a part of the budget, so that no number of them waits for ever."""
    loop, over = asyncio.get_running_loop(), False

    def hold_up() -> None:
        time.sleep(0.02)
        if not over:
            loop.call_soon(hold_up)

    loop.call_soon(hold_up)
    with pytest.raises(errors.Unavailable):
        async with asyncio.timeout(20), budget():
            await asyncio.Event().wait()
    over = True


async def test_what_happens_inside_comes_out() -> None:
    """Errors and results in time are not touched, nor is the caller's own timeout."""
    with pytest.raises(ValueError, match="mine"):
        async with budget():
            raise ValueError("mine")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001), budget():
            await asyncio.Event().wait()
