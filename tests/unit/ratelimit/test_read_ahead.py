"""Requests are read while others are answered, in their order and not without bound."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from wingmanmatch_server.ratelimit.read_ahead import ReadAhead


class Source:
    """Numbers that come as soon as they are asked for."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.given = 0
        self.closed = False
        self._count = count
        self._error = error

    async def numbers(self) -> AsyncIterator[int]:
        """Yield them, then raise the error if there is one."""
        try:
            while self.given < self._count:
                self.given += 1
                yield self.given - 1
            if self._error:
                raise self._error
            await asyncio.sleep(0)
        finally:
            self.closed = True


async def turn_often() -> None:
    """Let everybody else do what they can."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
async def test_everything_comes_in_order(count: int) -> None:
    """Each request is in one group."""
    async with aclosing(ReadAhead(Source(count).numbers(), 5).groups()) as groups:
        assert [number async for group in groups for number in group] == list(range(count))


async def test_what_comes_meanwhile_is_a_group() -> None:
    """While one group is answered others are read, up to the bound."""
    source = Source(100)
    async with aclosing(ReadAhead(source.numbers(), 10).groups()) as groups:
        first = await anext(groups)
        await turn_often()
        assert source.given <= len(first) + 11
        assert len(await anext(groups)) == 10


async def test_an_error_comes_after_all_before_it() -> None:
    """What was read is yielded before the error."""
    seen: list[int] = []

    async def read() -> None:
        async with aclosing(ReadAhead(Source(3, ValueError("broken")).numbers(), 10).groups()) as groups:
            async for group in groups:
                seen.extend(group)

    with pytest.raises(ValueError, match="broken"):
        await read()
    assert seen == [0, 1, 2]


async def test_who_leaves_leaves_no_reader() -> None:
    """The reading ends with the groups, even where it waits for room."""
    source, before = Source(100), asyncio.all_tasks()
    async with aclosing(ReadAhead(source.numbers(), 2).groups()) as groups:
        await anext(groups)
        await turn_often()
    assert source.closed or source.given < 100
    assert asyncio.all_tasks() == before
