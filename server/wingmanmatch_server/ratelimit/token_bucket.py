"""The buckets in Redis: what `token_bucket.lua` can do, as methods."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer, Script, ScriptCall, ScriptFailed, away
from wingmanmatch_server.ratelimit.coalescer import LARGEST_BATCH, Coalescer
from wingmanmatch_server.ratelimit.policies import Limit
from wingmanmatch_server.resilience.breaker import Breaker

SCRIPT = Script(Path(__file__).with_name("token_bucket.lua").read_text())
RESET = Script("for _, key in ipairs(KEYS) do redis.call('DEL', key) redis.call('PUBLISH', 'rl:forget', key) end")
FORGET_CHANNEL = "rl:forget"  # what the scripts publish to
BUDGET = 0.035  # seconds that a decision may wait for Redis; with what follows it takes less than 50 ms
LATE = 0.002
CLUSTER_BATCH = 16  # on a cluster each call goes by itself, and a batch has to fit into the budget
REMEMBERED = 10_000  # milliseconds for which an answer stays with its request_id
REUSED, BROKEN = 1, 2
HEADER, FIELDS = 2, 4  # how the script's reply is laid out
HEAD = 3  # arguments before those of each bucket
PLAIN = ("each", "spend", "")
NO_BUCKET = "a key holds something else than a bucket"


class Ask(NamedTuple):
    """One bucket, and what is asked of it; a negative cost puts tokens back."""

    key: str
    limit: Limit
    cost: int


class Answer(NamedTuple):
    """What a bucket says. `retry` is -1 where the cost can never pass; both times are microseconds."""

    allowed: int
    remaining: int
    retry: int
    reset: int


class RequestId(NamedTuple):
    """What makes a repeated request the same: its name, and a digest of what it asks."""

    name: str
    fingerprint: str


class Answers(NamedTuple):
    """One answer an ask. `as_of` is a moment just before Redis decided, in seconds of the clock given."""

    answers: list[Answer]
    as_of: float
    malformed: int


class TokenBuckets:
    """Token buckets in Redis, behind its circuit breaker."""

    def __init__(
        self,
        server: RedisServer,
        breaker: Breaker,
        clock: Callable[[], float],
        script: Script = SCRIPT,
        on_batch: Callable[[int], None] = lambda _size: None,
    ) -> None:
        """`clock` returns monotonic seconds; `on_batch` is told how many calls each round trip carried."""
        self._server = server
        self._breaker = breaker
        self._clock = clock
        self._script = script
        self._calls: Coalescer[ScriptCall, tuple[float, Any]] = Coalescer(
            self._send, _weight, on_batch, CLUSTER_BATCH if server.clustered else LARGEST_BATCH
        )

    async def ask(
        self,
        asks: Sequence[Ask],
        *,
        all_or_nothing: bool = False,
        peek: bool = False,
        request: RequestId | None = None,
    ) -> Answers:
        """Ask the buckets in order, and charge those that allow, unless it is a peek.

        All or nothing: where one denies, none is charged. Atomic; on a cluster, among the buckets of one slot only:
        then the slots are charged one after the other, and given back what was taken if a later one denies.

        Raises errors.Unavailable if Redis did not answer in time: then it may have charged or not.
        Raises errors.InvalidArgument, REQUEST_ID_REUSED, for a request that was another within the last ten seconds.
        Raises drivers.redis.ScriptFailed where a key holds something else.
        """
        mode = ("all" if all_or_nothing else "each", "peek" if peek else "spend")
        if self._server.clustered:
            return await self._ask_slots(asks, mode, request)
        return await self._ask(asks, mode, request, f"rl:req:{request.name}" if request else "")

    async def ask_one(self, ask: Ask) -> Answers:
        """Ask one bucket and charge it if it allows: `ask` for the case that most calls are, at half its cost."""
        as_of, reply = await self._calls.submit(ScriptCall((ask.key,), (*PLAIN, _argument(ask))))
        _, malformed, allowed, remaining, retry, reset = reply
        if allowed == BROKEN:
            raise ScriptFailed(NO_BUCKET)
        return Answers([Answer(allowed, remaining, retry, reset)], as_of, malformed)

    async def reset(self, keys: Sequence[str]) -> None:
        """Fill the buckets of `keys`, which are one subject's. Raises errors.Unavailable."""
        with self._breaker.guard():
            async with budget():
                await self._server.run(RESET, [ScriptCall(keys, ())])

    async def _ask(
        self, asks: Sequence[Ask], mode: tuple[str, str], request: RequestId | None, memory: str = ""
    ) -> Answers:
        keys = [ask.key for ask in asks]
        arguments = [*mode, request.fingerprint if request else "", *map(_argument, asks)]
        if request:
            keys.append(memory)
        as_of, reply = await self._calls.submit(ScriptCall(keys, tuple(arguments)))
        if reply[0] == REUSED:
            raise reused()
        fields = iter(reply[HEADER:])
        answers = list(map(Answer, fields, fields, fields, fields))
        if BROKEN in reply[HEADER::FIELDS]:
            raise ScriptFailed(NO_BUCKET)
        return Answers(answers, as_of, reply[1])

    async def _ask_slots(self, asks: Sequence[Ask], mode: tuple[str, str], request: RequestId | None) -> Answers:
        slots: dict[int, list[int]] = {}
        for place, ask in enumerate(asks):
            slots.setdefault(self._server.slot_of(ask.key), []).append(place)
        if request:
            await self._claim(request)
        groups = [[asks[place] for place in places] for places in slots.values()]
        parts = await (self._ask_in_turn if mode == ("all", "spend") else self._ask_at_once)(groups, mode, request)
        answers = {
            place: answer
            for places, part in zip(slots.values(), parts, strict=True)
            for place, answer in zip(places, part.answers, strict=True)
        }
        return Answers(
            [answers[place] for place in range(len(asks))],
            min(part.as_of for part in parts),
            sum(part.malformed for part in parts),
        )

    async def _ask_at_once(
        self, groups: Sequence[Sequence[Ask]], mode: tuple[str, str], request: RequestId | None
    ) -> list[Answers]:
        return await asyncio.gather(*(self._ask(group, mode, request, _beside(group, request)) for group in groups))

    async def _ask_in_turn(
        self, groups: Sequence[Sequence[Ask]], mode: tuple[str, str], request: RequestId | None
    ) -> list[Answers]:
        parts: list[Answers] = []
        for number, group in enumerate(groups):
            parts.append(await self._ask(group, mode, request, _beside(group, request)))
            if any(
                not answer.allowed and not ask.limit.shadow for ask, answer in zip(group, parts[-1][0], strict=True)
            ):
                undone = [await self._undo(done, part) for done, part in zip(groups, parts[:-1], strict=False)]
                return [*undone, parts[-1], *await self._ask_at_once(groups[number + 1 :], ("all", "peek"), None)]
        return parts

    async def _undo(self, asks: Sequence[Ask], part: Answers) -> Answers:
        """Give back what was charged; what was denied, by a limit that is only tried, was not."""
        back = [
            ask._replace(cost=-ask.cost if answer.allowed else 0)
            for ask, answer in zip(asks, part.answers, strict=True)
        ]
        return await self._ask(back, ("each", "spend"), None)

    async def _claim(self, request: RequestId) -> None:
        """Remember what the request asks, or find that it asked something else before."""
        name = f"rl:req:{request.name}"
        with away():
            if await self._server.client.set(name, request.fingerprint, nx=True, px=REMEMBERED):
                return
            known = await self._server.client.get(name)
        if known is not None and known.decode() != request.fingerprint:
            raise reused()

    async def _send(self, calls: list[ScriptCall]) -> Sequence[tuple[float, Any] | Exception]:
        with self._breaker.guard():
            as_of = self._clock()
            async with budget():
                replies = await self._run(calls)
        return [reply if isinstance(reply, Exception) else (as_of, reply) for reply in replies]

    async def _run(self, calls: list[ScriptCall]) -> Sequence[Any]:
        """Run the calls; off a cluster, those that need not be atomic by themselves as one, which is much cheaper."""
        if len(calls) == 1 or self._server.clustered:
            return await self._server.run(self._script, calls)
        plain = [call for call in calls if call.arguments[:HEAD] == PLAIN]
        others = [call for call in calls if call.arguments[:HEAD] != PLAIN]
        merged = [_merged(plain)] if plain else []
        replies = iter(await self._server.run(self._script, [*merged, *others]))
        parts = _parts(next(replies), plain) if plain else iter(())
        return [next(parts if call.arguments[:HEAD] == PLAIN else replies) for call in calls]


def reused() -> errors.InvalidArgument:
    """Return the error of a request_id that came with something else before."""
    return errors.InvalidArgument((), "REQUEST_ID_REUSED", "the request_id was used for another request")


def _argument(ask: Ask) -> str:
    _, limit, cost = ask
    return limit.single if cost == 1 else f"{limit.argument}{cost}"


def _beside(asks: Sequence[Ask], request: RequestId | None) -> str:
    """Return where to remember the answer: in the slot of the buckets asked."""
    return f"{asks[0].key.rpartition(':')[0]}:req:{request.name}" if request else ""


def _merged(calls: Sequence[ScriptCall]) -> ScriptCall:
    keys = [key for call in calls for key in call.keys]
    return ScriptCall(keys, (*PLAIN, *(argument for call in calls for argument in call.arguments[HEAD:])))


def _parts(reply: Any, calls: Sequence[ScriptCall]) -> Iterator[Any]:
    """Yield each call's part of the reply to them all; what was malformed is told to the first."""
    if isinstance(reply, Exception):
        yield from [reply] * len(calls)
        return
    head, at = reply[:HEADER], HEADER
    for call in calls:
        end = at + FIELDS * len(call.keys)
        yield head + reply[at:end]
        head, at = [0, 0], end


def _weight(call: ScriptCall) -> int:
    return len(call.keys)


@asynccontextmanager
async def budget() -> AsyncIterator[None]:
    """Bound what waits for Redis to BUDGET seconds. Raises errors.Unavailable."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as scope:
            # A loop that was held up sees its timers before the reply that came in time, so the end comes a bit later.
            timer = loop.call_later(BUDGET, lambda: scope.reschedule(loop.time() + LATE))
            try:
                yield
            finally:
                timer.cancel()
    except TimeoutError:
        raise errors.Unavailable("REDIS_UNAVAILABLE", "Redis did not answer in time", retry_after=1.0) from None
