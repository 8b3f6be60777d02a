"""The buckets in Redis: what `token_bucket.lua` can do, as methods."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.coalescer import Coalescer
from wingmanmatch_server.drivers.redis import RedisServer, Script, ScriptCall, ScriptFailed
from wingmanmatch_server.ratelimit.batch import Answer, Answers, Ask, Asks
from wingmanmatch_server.ratelimit.budget import budget
from wingmanmatch_server.resilience.breaker import Breaker

SCRIPT = Script(Path(__file__).with_name("token_bucket.lua").read_text())
RESET = Script("for _, key in ipairs(KEYS) do redis.call('DEL', key) redis.call('PUBLISH', 'rl:forget', key) end")
FORGET_CHANNEL = "rl:forget"  # what the scripts publish to
REUSED, UNKNOWN, BROKEN = 1, 2, -2  # in the script's reply
HEAD = 3  # arguments before those of the buckets
PLAIN = ("each", "spend", "")
NO_BUCKET = "a key holds no bucket of a format that this version of the server knows"
NO_ANSWER = "a request is remembered in a format that this version of the server does not know"


class RequestId(NamedTuple):
    """What makes a repeated request the same: its name, and a digest of what it asks."""

    name: str
    fingerprint: str


class Reply(NamedTuple):
    """One answer an ask. `as_of` is a moment just before Redis decided, in seconds of the clock given."""

    answers: Answers
    as_of: float


class TokenBuckets:
    """Token buckets in one Redis, behind its circuit breaker."""

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
        self._calls: Coalescer[ScriptCall, tuple[float, Any]] = Coalescer(self._send, _weight, on_batch)

    async def ask(
        self,
        asks: Sequence[Ask],
        *,
        all_or_nothing: bool = False,
        peek: bool = False,
        request: RequestId | None = None,
    ) -> Reply:
        """Ask the buckets in order, and charge those that allow, unless it is a peek.

        All or nothing: where one denies, none is charged. Atomic.

        Raises errors.Unavailable if Redis did not answer in time: then it may have charged or not.
        Raises errors.InvalidArgument, REQUEST_ID_REUSED, for a request that was another within the last ten seconds.
        Raises drivers.redis.ScriptFailed where a key holds something else, such as a bucket of a newer format, which
        is left as it is.
        """
        mode = ("all" if all_or_nothing else "each", "peek" if peek else "spend")
        return await self._ask(Asks.of(asks), mode, request, f"rl:req:{request.name}" if request else "")

    async def ask_one(self, ask: Ask) -> tuple[Answer, float]:
        """Ask one bucket and charge it if it allows: `ask` for the case that most calls are, at half its cost.

        Return what a Reply has.
        """
        key, limit, cost = ask
        argument = limit.single if cost == 1 else f"{limit.argument}{cost}:1"
        as_of, (_, debts, waits) = await self._calls.submit(ScriptCall((key,), (*PLAIN, argument)))
        debt, wait = debts[0], waits[0] if waits else 0
        if wait == BROKEN:
            raise ScriptFailed(NO_BUCKET)
        return Answer(int(wait == 0), (limit.full - debt) // limit.interval, wait, debt), as_of

    async def reset(self, keys: Sequence[str]) -> None:
        """Fill the buckets of `keys`, which are one subject's. Raises errors.Unavailable."""
        with self._breaker.guard():
            async with budget():
                await self._server.run(RESET, [ScriptCall(keys, ())])

    async def _ask(self, asks: Asks, mode: tuple[str, str], request: RequestId | None, memory: str = "") -> Reply:
        keys, fingerprint = (asks.keys, "") if request is None else ([*asks.keys, memory], request.fingerprint)
        runs = [f"{limit.argument}{cost}:{count}" for limit, cost, count in asks.runs]
        as_of, (status, *columns) = await self._calls.submit(ScriptCall(keys, (*mode, fingerprint, *runs)))
        if status == REUSED:
            raise reused()
        if status == UNKNOWN:
            raise ScriptFailed(NO_ANSWER)
        debts, waits = columns
        if BROKEN in waits:
            raise ScriptFailed(NO_BUCKET)
        return Reply(Answers.of_debts(asks.runs, debts, waits), as_of)

    async def _send(self, calls: list[ScriptCall]) -> Sequence[tuple[float, Any] | Exception]:
        with self._breaker.guard():
            as_of = self._clock()
            async with budget():
                replies = await self._run(calls)
        return [reply if isinstance(reply, Exception) else (as_of, reply) for reply in replies]

    async def _run(self, calls: list[ScriptCall]) -> Sequence[Any]:
        """Run the calls in their order, neighbours that need not be atomic by themselves as one, which is cheaper."""
        if len(calls) == 1:
            return await self._server.run(self._script, calls)
        groups = list(_neighbours(calls))
        replies = await self._server.run(self._script, [_merged(group) for group in groups])
        return [part for reply, group in zip(replies, groups, strict=True) for part in _parts(reply, group)]


def reused() -> errors.InvalidArgument:
    """Return the error of a request_id that came with something else before."""
    return errors.InvalidArgument((), "REQUEST_ID_REUSED", "the request_id was used for another request")


def _neighbours(calls: Sequence[ScriptCall]) -> Iterator[list[ScriptCall]]:
    """Yield the calls in groups that may run as one."""
    for plain, group in groupby(calls, lambda call: call.arguments[:HEAD] == PLAIN):
        if plain:
            yield list(group)
        else:
            yield from ([call] for call in group)


def _merged(calls: Sequence[ScriptCall]) -> ScriptCall:
    if len(calls) == 1:
        return calls[0]
    keys = [key for call in calls for key in call.keys]
    return ScriptCall(keys, (*PLAIN, *(argument for call in calls for argument in call.arguments[HEAD:])))


def _parts(reply: Any, calls: Sequence[ScriptCall]) -> Iterator[Any]:
    """Yield each call's part of the reply to them all."""
    if len(calls) == 1 or isinstance(reply, Exception):
        yield from [reply] * len(calls)
        return
    status, debts, waits = reply
    start = 0
    for call in calls:
        end = start + len(call.keys)
        part = waits[start:end]
        yield status, debts[start:end], part if any(part) else []
        start = end


def _weight(call: ScriptCall) -> int:
    return len(call.keys)
