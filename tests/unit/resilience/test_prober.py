"""The prober, under a sleep that the tests hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from wingmanmatch_server import errors
from wingmanmatch_server.errors import Evidence
from wingmanmatch_server.resilience.breaker import Breaker, Limits, State
from wingmanmatch_server.resilience.prober import Prober

AWAY = errors.Unavailable("REDIS_UNAVAILABLE", "away")


class Bench:
    """A breaker, its prober, and a dependency that does what `outcome` says."""

    def __init__(self, *, timeout: float = 1.0, random: float = 0.5) -> None:
        self.breaker = Breaker("redis", Limits(3, 30.0), lambda: 0.0)
        self.outcome: BaseException | None = None
        self.probes = 0
        self.slept: list[float] = []
        self.hang = False
        self._wakes: asyncio.Queue[None] = asyncio.Queue()
        self.prober = Prober(self.breaker, self._probe, lambda: random, sleep=self._sleep, timeout=timeout)

    async def _probe(self) -> None:
        self.probes += 1
        if self.hang:
            await asyncio.Event().wait()
        if self.outcome:
            raise self.outcome

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._wakes.get()

    async def wake(self) -> None:
        """Let the time until the next probe pass, and the probe end."""
        self._wakes.put_nowait(None)
        await turns()

    def fail(self, error: Exception = AWAY) -> None:
        """Let a call fail."""
        with pytest.raises(type(error)), self.breaker.guard():
            raise error


async def turns() -> None:
    """Let whatever can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def probing(bench: Bench) -> AsyncIterator[Bench]:
    """Run the prober for the length of the context."""
    task = asyncio.create_task(bench.prober.run())
    await turns()
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_asked_while_all_is_well() -> None:
    """While the breaker is closed and nobody doubts, the dependency gets no probe."""
    async with probing(Bench()) as bench:
        bench.fail()
        bench.fail()
        await turns()
        assert bench.probes == 0


async def test_closes_with_the_first_probe_that_succeeds() -> None:
    """An open breaker is probed again and again, and closed by the first success; then the probes end."""
    async with probing(Bench()) as bench:
        bench.outcome = AWAY
        for _ in range(3):
            bench.fail()
        await turns()
        for _ in range(4):
            await bench.wake()
        assert (bench.probes, bench.breaker.state) == (5, State.OPEN)
        bench.outcome = None
        await bench.wake()
        assert bench.breaker.state is State.CLOSED
        await bench.wake()
        assert bench.probes == 6


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 0.5), (0.5, 0.75), (0.999, 0.9995)])
async def test_waits_half_a_second_to_a_second(random: float, seconds: float) -> None:
    """The time between probes is spread, so that replicas do not probe in step."""
    async with probing(Bench(random=random)) as bench:
        bench.breaker.in_question.set()
        await turns()
        assert bench.slept == [seconds]


async def test_probe_without_an_answer_has_failed() -> None:
    """A dependency that hangs is unavailable after the timeout."""
    async with probing(Bench(timeout=0.01)) as bench:
        bench.hang = True
        bench.breaker.in_question.set()
        async with asyncio.timeout(5):
            while bench.breaker.state is not State.OPEN:
                await asyncio.sleep(0.001)


async def test_probe_that_found_nothing_out_changes_nothing() -> None:
    """A probe that got no connection of our own neither opens nor closes."""
    async with probing(Bench()) as bench:
        bench.outcome = errors.Unavailable("REDIS_UNAVAILABLE", "no connection is free", evidence=Evidence.NONE)
        bench.breaker.in_question.set()
        await turns()
        assert (bench.probes, bench.breaker.state) == (1, State.CLOSED)
        assert bench.breaker.in_question.is_set()


async def test_broken_probe_is_logged_once() -> None:
    """A probe that raises what nobody foresaw has failed, and fills no log."""
    with capture_logs() as logs:
        async with probing(Bench()) as bench:
            bench.outcome = KeyError("nobody foresaw")
            bench.breaker.in_question.set()
            await turns()
            for _ in range(5):
                await bench.wake()
            assert bench.breaker.state is State.OPEN
    assert [log["event"] for log in logs] == ["probe_failed"]
