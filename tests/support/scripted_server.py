"""A gRPC server that answers as a script says, and remembers what it was asked, for tests of the client alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from wingmanmatch_client.rpc import Rpc
from wingmanmatch_server.system.health import Health

Trailers = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A status to end a call with."""

    code: grpc.StatusCode
    message: str = "as scripted"
    trailers: Trailers = ()


Answer = Message | Failure | Sequence[Message | Failure | None] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One attempt: what came, with which metadata, and how many seconds it had; None without a deadline."""

    message: Any
    metadata: dict[str, str | bytes]
    seconds: float | None


@dataclass(slots=True)
class Script:
    """What a method answers, one item a call, what it was asked and when, whether a caller came, and whether one left.

    A stream's item is a sequence; None in it keeps the stream open, and None for an answer lets the caller wait.
    """

    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)


class ScriptedServer:
    """Where it listens, its health, and its scripts."""

    def __init__(self) -> None:
        self.target = ""
        self.health = Health(["readiness"])
        self._scripts: dict[str, tuple[Script, Callable[[bytes], Any], bool]] = {}

    def script(self, rpc: Rpc[Any, Any], *answers: Answer) -> Script:
        """Let the RPC answer so from now on; an answer that is a sequence is a stream."""
        script = Script(list(answers))
        streams = any(isinstance(answer, list | tuple) for answer in answers)
        self._scripts[rpc.path] = (script, rpc.request.FromString, streams)
        return script

    def handler(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return what answers a method; None for what has no script."""
        if details.method not in self._scripts:
            return None
        script, parse, streams = self._scripts[details.method]
        make = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        behaviour = _streaming(script) if streams else _answering(script)
        return make(behaviour, request_deserializer=parse, response_serializer=lambda each: each.SerializeToString())


def _take(script: Script, request: Any, context: Any) -> Any:
    script.asked.append(Asked(request, dict(context.invocation_metadata()), context.time_remaining()))
    script.moments.append(asyncio.get_running_loop().time())
    script.came.set()
    return script.answers.pop(0)


async def _say(script: Script, answer: Any, context: Any) -> Any:
    if answer is None:
        await _until_left(script)
    if isinstance(answer, Failure):
        await context.abort(answer.code, answer.message, answer.trailers)
    return answer


def _answering(script: Script) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        return await _say(script, _take(script, request, context), context)

    return answer


def _streaming(script: Script) -> Any:
    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        for each in _take(script, request, context):
            yield await _say(script, each, context)

    return stream


async def _until_left(script: Script) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        script.left.set()


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """Serve on a free port."""
    scripted = ScriptedServer()

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            return scripted.handler(details)

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((Handlers(), scripted.health.handler()))
    scripted.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield scripted
    finally:
        scripted.health.drain()
        await server.stop(0)
