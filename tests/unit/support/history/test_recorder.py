"""Recording: what each way for a call to end says of its effect, and what repetitions of a request amount to."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from support.history.operations import NEVER, Outcome, Refusal
from support.history.recorder import Recorder


def recorder() -> Recorder:
    """Return a recorder whose clock goes on by a second with each look at it."""
    ticks = itertools.count()
    return Recorder(clock=lambda: float(next(ticks)), wall=lambda: 1000.0)


def failed(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    """Return how a call fails with a status."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


class Server:
    """Answers one call after another as it was told to, by a value or an error."""

    def __init__(self, *answers: Any) -> None:
        self._answers = iter(answers)

    async def __call__(self) -> Any:
        """Give the next answer."""
        answer = next(self._answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer


async def always() -> bool:
    """Want the request to be sent again."""
    return True


UNAVAILABLE = failed(grpc.StatusCode.UNAVAILABLE)
REFUSED = failed(grpc.StatusCode.FAILED_PRECONDITION)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_outcome(code: grpc.StatusCode) -> None:
    """A status that a server, a proxy or a client gives without an answer leaves the outcome unknown, others refuse."""
    made = await recorder().call(1, "key", "name", Server(failed(code)), str)
    lost = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL"}
    assert made.unknown == (code.name in lost)
    assert (made.end == NEVER) == made.unknown
    assert made.unknown or (made.outcome is Outcome.REFUSED and made.result == Refusal(""))


async def test_answer() -> None:
    """An answer is recorded as the models see it, with when the call began and ended."""
    made = await recorder().call(3, "key", "name", Server(7), str, number=5)
    assert (made.caller, made.key, made.name, made.arguments) == (3, "key", "name", {"number": 5})
    assert (made.start, made.end, made.outcome, made.result) == (1, 2, Outcome.OK, "7")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([UNAVAILABLE, UNAVAILABLE, 7], [(1, 4, Outcome.OK)]),
        ([UNAVAILABLE, REFUSED], [(1, NEVER, Outcome.UNKNOWN), (2, 3, Outcome.REFUSED)]),
    ],
)
async def test_repeated(answers: Sequence[Any], expected: Sequence[tuple[float, float, Outcome]]) -> None:
    """Attempts of one request are one operation, unless the last was refused: an earlier one may have had its effect.

    The clock is looked at when an attempt begins and when it is answered.
    """
    history = recorder()
    await history.call(1, "key", "name", Server(*answers), str, again=always)
    assert [(each.start, each.end, each.outcome) for each in history.operations] == expected
    assert sum(history.statuses.values()) == len(answers)


async def test_given_up() -> None:
    """A request that is not sent again stays unknown, from its first attempt on."""
    history, wanted = recorder(), iter((True, False))

    async def again() -> bool:
        return next(wanted)

    made = await history.call(1, "key", "name", Server(UNAVAILABLE, UNAVAILABLE), str, again=again)
    assert history.operations == [made]
    assert (made.start, made.unknown) == (1, True)


async def test_cancelled_caller() -> None:
    """A caller that is cancelled itself is not taken for a call that was."""
    call = asyncio.create_task(Recorder().call(1, "key", "name", asyncio.Event().wait, str))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


def test_times_of_the_database() -> None:
    """Times go to the databases' clock and back without a difference."""
    history = recorder()
    assert history.from_wall(1_001_500) == 1.5
    assert history.to_wall(1.5) == 1_001_500
