"""Asks Claude by the server's own code, under a clock that the test holds."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from wingmanmatch_server.coaching.claude import Claude, open_claude
from wingmanmatch_server.coaching.model import Author, Event, Prompt, Text, Turn
from wingmanmatch_server.resilience.breaker import Breaker, Limits
from wingmanmatch_server.resilience.retry import Retry, RetryLimits

PROMPT = Prompt("Coach people.", "About the person, as data: {}", [Turn(Author.PERSON, "Hello?")], 100)
MODEL = "claude-sonnet-5-5"
PATIENCE = 20.0  # seconds: no test waits for it


@dataclass(slots=True)
class Asking:
    """Claude, its breaker, the time, and the waits that were asked for, which pass at once."""

    claude: Claude
    breaker: Breaker
    time: list[float]
    waits: list[float] = field(default_factory=list)

    async def answer(self) -> list[Event]:
        """Return all events of an answer."""
        async with aclosing(self.claude.answer(PROMPT)) as events:
            return [event async for event in events]

    async def text(self) -> str:
        """Return the text of an answer."""
        return "".join(event.text for event in await self.answer() if isinstance(event, Text))


@asynccontextmanager
async def asking(patience: float = PATIENCE) -> AsyncIterator[Asking]:
    """Open Claude at ANTHROPIC_BASE_URL."""
    time, waits = [1000.0], list[float]()

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        time[0] += seconds

    def clock() -> float:
        return time[0]

    breaker = Breaker("external_api", Limits(failure_threshold=5, recovery=60.0), clock)
    retry = Retry(RetryLimits(attempts=2, base=0.5), breaker, clock, lambda: 1.0, sleep=wait)
    async with open_claude("sk-ant-test", breaker, retry, MODEL, patience, clock=clock, sleep=wait) as claude:
        yield Asking(claude, breaker, time, waits)
