"""What one stream does with the events that are read for it."""

import asyncio
from datetime import UTC, datetime

import pytest

from wingmanmatch_server import errors
from wingmanmatch_server.matching.rows import Match, MatchEvent
from wingmanmatch_server.matching.stream import Stream

SIZE = 4
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
MATCH = Match("m", "r", "i", "ACCEPTED", "", "", NOW, NOW, NOW)


def events(first: int, last: int) -> list[MatchEvent]:
    """Return events of these numbers."""
    return [MatchEvent(number, "ACCEPTED", NOW, None, MATCH) for number in range(first, last + 1)]


async def taken(stream: Stream) -> list[int]:
    """Return the numbers of what lies in the buffer."""
    numbers = []
    async with asyncio.timeout(5):
        while event := await stream.next(0):
            numbers.append(event.sequence)
    return numbers


async def test_new_stream_begins_after_the_last_event() -> None:
    """Opened at a number, it hands out what comes next and nothing else."""
    stream = Stream(None, SIZE)
    stream.open(7)
    stream.offer(9, events(6, 9))
    assert await taken(stream) == [8, 9]
    assert stream.position == 9


async def test_event_is_handed_out_once() -> None:
    """What was read twice, as two streams of one person can cause, is handed out once."""
    stream = Stream(7, SIZE)
    stream.offer(9, events(8, 9))
    stream.offer(10, events(8, 10))
    assert await taken(stream) == [8, 9, 10]


async def test_stream_behind_waits_for_its_reader() -> None:
    """While it catches up, what does not fit is left to be read again, and the stream lives."""
    stream = Stream(0, SIZE)
    stream.offer(9, events(1, 9))
    assert not stream.wants
    assert not stream.is_behind
    assert await taken(stream) == [1, 2, 3, 4]
    assert stream.wants
    assert stream.is_behind
    stream.offer(9, events(5, 9))
    assert await taken(stream) == [5, 6, 7, 8]
    stream.offer(9, events(9, 9))
    assert stream.live
    assert await taken(stream) == [9]


async def test_live_reader_that_is_too_slow_is_ended() -> None:
    """Once it has caught up the buffer has to suffice, and the reader is told to resume."""
    stream = Stream(0, SIZE)
    stream.offer(SIZE, events(1, SIZE))
    stream.offer(SIZE + 1, events(SIZE + 1, SIZE + 1))
    with pytest.raises(errors.Aborted) as caught:
        await stream.next(0)
    assert caught.value.reason == "READER_TOO_SLOW"


@pytest.mark.parametrize("kept", [[], events(9, 10)], ids=["all are gone", "some are gone"])
async def test_gap_is_told(kept: list[MatchEvent]) -> None:
    """A stream whose next event is no longer kept ends instead of skipping it."""
    stream = Stream(7, SIZE)
    stream.offer(10, kept)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await stream.next(0)
    assert caught.value.reason == "RESUME_TOKEN_EXPIRED"


async def test_number_of_the_future_is_refused() -> None:
    """A token beyond the last event is of another database."""
    stream = Stream(11, SIZE)
    stream.offer(10, [])
    with pytest.raises(errors.InvalidArgument) as caught:
        await stream.next(0)
    assert caught.value.reason == "RESUME_TOKEN_INVALID"


async def test_read_for_another_stream_wakes_nobody() -> None:
    """A stream for which nothing was found waits on: told each time, a hundred of one person would tell each other."""
    stream = Stream(None, SIZE)
    stream.open(7)
    waiting = asyncio.create_task(stream.next(60))
    await asyncio.sleep(0)
    stream.offer(7, [])
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    stream.offer(8, events(8, 8))
    assert [await waiting] == events(8, 8)


async def test_end_goes_before_what_is_buffered() -> None:
    """A stream that has to end does so at once; what it held can be read again."""
    stream = Stream(0, SIZE)
    stream.offer(2, events(1, 2))
    stream.end(errors.Unavailable("DRAINING", "the server is stopping"))
    with pytest.raises(errors.Unavailable):
        await stream.next(60)
    assert stream.error is not None
