"""Sends one mutated request after the other, and counts how each ended.

The request with a number is the same in every run with the same seed, as far as the server's answers before it were:
requests are made a round at a time, out of what the answers of earlier rounds hold, taken in by number.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from support.credentials import ADMIN_KEY, KEY, bearer, user_token
from support.fuzz.likely import likely
from support.fuzz.mutations import mutated
from support.fuzz.pools import Pools
from support.protos import methods, policy
from wingmanmatch.options.v1 import options_pb2

ROUND = 128  # requests made at once
NEWCOMERS = 128  # profiles made before, several for each person
CHANNELS = 4
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
PATIENCE = 30.0  # seconds: a request that takes longer has hung
GLANCE = 0.3  # seconds for which a stream without end is read
LARGEST = 1 << 20  # bytes of a request that the server reads
TRAILERS = 8 << 10  # bytes that every client accepts
# Whoever is not nobody has a good credential: a request that is refused for it would try nothing of its method.
CREDENTIAL_REFUSED = ("CREDENTIAL_INVALID", "TOKEN_EXPIRED")
DEFECTS = ("INTERNAL", "UNKNOWN", "DATA_LOSS")
# Ways in which gRPC itself ends a call, before or behind the server's edge.
WRITTEN_TOO_LATE = "WRITTEN_TOO_LATE"
WITHOUT_REASON = ("CANCELLED", "DEADLINE_EXCEEDED", WRITTEN_TOO_LATE)
# What ends things is called less often, and what they hang on more often, so that others find something.
WEIGHTS = {
    "BlockUser": 0.1,
    "DeleteProfile": 0.1,
    "DeleteUserSessions": 0.1,
    "DeleteSession": 0.2,
    "EndMatch": 0.2,
    "CancelMatch": 0.3,
    "CancelMeetup": 0.3,
    "ResetCircuitBreaker": 0.2,
    "WatchMatches": 0.2,
    "RequestMatch": 3.0,
    "RespondToMatch": 3.0,
    "ScheduleMeetup": 2.0,
}


@dataclass(frozen=True, slots=True)
class Shot:
    """A request, and who sends it."""

    number: int
    method: MethodDescriptor
    mutation: str
    data: bytes
    caller: str
    metadata: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        shown = self.data[:300].hex() + ("…" if len(self.data) > 300 else "")
        return f"request {self.number}, {self.method.full_name}, {self.mutation}, as {self.caller}: {shown}"


@dataclass
class Result:
    """What became of the requests so far."""

    seed: int
    count: int = 0
    codes: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, method: str, code: str) -> None:
        """Count the end of a call."""
        self.codes.setdefault(method, Counter())[code] += 1

    def total(self) -> Counter[str]:
        """Return how many calls ended with each code."""
        return sum(self.codes.values(), Counter())

    def save(self, file: Path) -> None:
        """Write down where to go on."""
        state = {"seed": self.seed, "count": self.count, "codes": self.codes, "problems": self.problems}
        beside = file.with_suffix(".new")
        beside.write_text(json.dumps(state))
        beside.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Result":
        """Return what was saved. Raises FileNotFoundError."""
        state = json.loads(file.read_text())
        codes = {method: Counter(counts) for method, counts in state.pop("codes").items()}
        return cls(**state, codes=codes)

    def table(self) -> str:
        """Return the counts, a line for each method."""
        lines = [f"{method.rpartition('.')[2]:<24} {_shown(codes)}" for method, codes in sorted(self.codes.items())]
        return "\n".join([*lines, f"{'total ' + str(self.count):<24} {_shown(self.total())}"])


def _shown(codes: Counter[str]) -> str:
    return "  ".join(f"{code} {count}" for code, count in codes.most_common())


class Campaign:
    """The requests of a seed, from a number on, to the server at an address."""

    def __init__(self, address: str, result: Result) -> None:
        self._address = address
        self.result = result
        self._pools = Pools(result.seed)
        self._methods = methods()
        self._weights = [WEIGHTS.get(method.name, 1.0) for method in self._methods]

    async def settle(self) -> None:
        """Make the people whom requests are about."""
        async with self._channels() as channels:
            await self._fire_all(channels, [self._newcomer(number) for number in range(-NEWCOMERS, 0)])

    async def run(self, until: int) -> None:
        """Send the requests up to a number, which is not sent itself."""
        async with self._channels() as channels:
            while self.result.count < until:
                numbers = range(self.result.count, min(self.result.count + ROUND, until))
                await self._fire_all(channels, [self._shot(number) for number in numbers])
                self.result.count = numbers.stop

    @asynccontextmanager
    async def _channels(self) -> AsyncIterator[list[grpc.aio.Channel]]:
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(grpc.aio.insecure_channel(self._address, OPTIONS))
                for _ in range(CHANNELS)
            ]

    async def _fire_all(self, channels: Sequence[grpc.aio.Channel], shots: Sequence[Shot]) -> None:
        answers = await asyncio.gather(*(self._fire(channels[shot.number % CHANNELS], shot) for shot in shots))
        for answer in chain.from_iterable(answers):
            self._pools.harvest(answer)

    def _newcomer(self, number: int) -> Shot:
        method = next(method for method in self._methods if method.name == "UpsertProfile")
        request = likely(method.input_type, self._pools, self._random(number))
        return Shot(number, method, "untouched", request.SerializeToString(), "admin", bearer(ADMIN_KEY))

    def _shot(self, number: int) -> Shot:
        random_ = self._random(number)
        (method,) = random_.choices(self._methods, self._weights)
        request = likely(method.input_type, self._pools, random_)
        caller, metadata = self._caller(method, request, random_)
        other = likely(random_.choice(self._methods).input_type, self._pools, random_)
        return Shot(number, method, *mutated(request, random_, other), caller, metadata)

    def _random(self, number: int) -> random.Random:
        return random.Random(f"{self.result.seed}:{number}")

    def _caller(
        self, method: MethodDescriptor, request: Any, random_: random.Random
    ) -> tuple[str, tuple[tuple[str, str], ...]]:
        chance, treated = random_.random(), policy(method)
        if chance < 0.02:
            return "nobody", bearer(random_.choice((None, "", "x.y.z", "wm_", KEY[:-1])))
        if treated.access == options_pb2.ACCESS_ADMIN or chance < 0.1:
            return "admin", bearer(ADMIN_KEY)
        if treated.access == options_pb2.ACCESS_BACKEND or chance < 0.45:
            return "back end", bearer(KEY)
        user = _acting(request, treated.user_field) if chance < 0.95 else ""
        return "user", bearer(user_token(user or random_.choice(self._pools.people)))

    async def _fire(self, channel: grpc.aio.Channel, shot: Shot) -> list[Message]:
        """Send a request, count how it ended, and return what was answered."""
        parse = GetMessageClass(shot.method.output_type).FromString
        answers: list[Message] = []
        code = "OK"
        try:
            async with asyncio.timeout(PATIENCE):
                # Not a comprehension: of a stream that fails, what came before counts.
                async for data in _responses(channel, shot):
                    answers.append(parse(data))  # noqa: PERF401
        except grpc.aio.AioRpcError as error:
            code = _code(error)
            self._judge(shot, error, code)
        except TimeoutError:
            code = "HUNG"
            self.result.problems.append(f"hung: {shot}")
        self.result.add(shot.method.full_name, code)
        return answers

    def _judge(self, shot: Shot, error: grpc.aio.AioRpcError, code: str) -> None:
        reason = _reason(error)
        if code in DEFECTS:
            self.result.problems.append(f"{code} {error.details()}: {shot}")
        elif not reason and code not in WITHOUT_REASON and len(shot.data) <= LARGEST:
            self.result.problems.append(f"{code} without a reason, {error.details()}: {shot}")
        elif reason in CREDENTIAL_REFUSED and shot.caller != "nobody":
            self.result.problems.append(f"{reason}, so that nothing was tried: {shot}")
        size = sum(len(key) + len(value) + 32 for key, value in error.trailing_metadata() or ())
        if size + len((error.details() or "").encode()) > TRAILERS:
            self.result.problems.append(f"{code} with {size} bytes of trailers: {shot}")


def _acting(request: Any, path: str) -> str:
    value = request
    for name in filter(None, path.split(".")):
        value = getattr(value, name)
    return value if isinstance(value, str) else ""


def _code(error: grpc.aio.AioRpcError) -> str:
    """Return the code with which a call ended.

    grpc.aio's client says INTERNAL of its own where it writes to a stream that the server has ended: what the server
    said is lost then, and its own count of codes must do.
    """
    return WRITTEN_TOO_LATE if error.details() == "Internal error from Core" else error.code().name


def _reason(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of an error's ErrorInfo, or nothing."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # the client's own deadline came first, so that its code is not that of the details
        return ""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for each in (status.details if status else ()) if each.Unpack(info)), "")


async def _responses(channel: grpc.aio.Channel, shot: Shot) -> Any:
    path = f"/{shot.method.containing_service.full_name}/{shot.method.name}"
    options: dict[str, Any] = {"metadata": shot.metadata, "timeout": PATIENCE}
    if shot.method.name == "WatchMatches":
        options["timeout"] = GLANCE
    if shot.method.client_streaming:
        call = channel.stream_stream(path)(**options)
        # One at a time: a write to a stream that the server ended would hide how it ended.
        for _ in range(1 + shot.number % 3):
            await call.write(shot.data)
            if (data := await call.read()) is grpc.aio.EOF:
                return
            yield data
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    elif shot.method.server_streaming:
        async for data in channel.unary_stream(path)(shot.data, **options):
            yield data
    else:
        yield await channel.unary_unary(path)(shot.data, **options)
