"""Every stream of the API ends with the credential that opened it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from support.credentials import bearer
from support.edge import Edge, channel_to, failure_of
from support.projects import Project
from support.protos import methods, policy
from support.server import supabase_settings
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.bootstrap.identity import RELOAD_INTERVAL, open_identity
from wingmanmatch_server.identity.api_keys import create_key
from wingmanmatch_server.identity.published_keys import REFRESH_INTERVAL
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.interceptors.door import guarded_handler
from wingmanmatch_server.interceptors.validate import Validate
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.health import Health

KEY, ENTRY = create_key("booking", ["*"], "b" * 43)
OTHER_KEY, OTHER_ENTRY = create_key("other", ["*"], "o" * 43)
STREAMS = [method for method in methods() if method.server_streaming or method.client_streaming]


class Endless:
    """Implements every method by a stream that answers once and stays open, and notes which ended."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.ended = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def behave(_request: Any, _call: Call) -> AsyncIterator[Any]:
            try:
                yield self.answer
                await asyncio.Event().wait()
            finally:
                self.ended += 1

        return behave


class Time:
    """The sleep of background jobs, which lasts until a test lets it pass."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._sleeping: dict[float, asyncio.Event] = {}

    async def sleep(self, seconds: float) -> None:
        """Sleep until the test lets so many seconds pass."""
        async with self._changed:
            over = self._sleeping[seconds] = asyncio.Event()
            self._changed.notify_all()
        await over.wait()

    async def let_pass(self, seconds: float) -> None:
        """Wait until a job sleeps for so long, and wake it."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: seconds in self._sleeping)
            self._sleeping.pop(seconds).set()


@asynccontextmanager
async def serving(method: MethodDescriptor, settings: Settings, time: Time, endless: Any) -> AsyncIterator[Any]:
    """Serve the method's service by `endless` behind the edge, and yield what calls the method."""
    edge = Edge()
    endless.answer = GetMessageClass(method.output_type)()
    service = method.containing_service
    async with open_identity(settings, sleep=time.sleep) as identity:
        # What is sent breaks rules; that is not what this is about.
        interceptors = [each for each in edge.replaced(identity) if not isinstance(each, Validate)]
        handler = guarded_handler(service, endless, interceptors, identity)
        async with channel_to(Application([handler], Health(()), edge.registry)) as channel:
            arity = f"{'stream' if method.client_streaming else 'unary'}_stream"
            yield getattr(channel, arity)(f"/{service.full_name}/{method.name}")


def request_of(method: MethodDescriptor, user_id: str) -> Any:
    """Return a request, or a stream of one, that names the user where the policy says so."""
    message = GetMessageClass(method.input_type)()
    if policy(method).user_field:
        setattr(message, policy(method).user_field, user_id)
    return message.SerializeToString()


async def opened(call: Any, method: MethodDescriptor, user_id: str, credential: str) -> Any:
    """Open the stream and return it once the first answer is there."""
    stream = call(timeout=10, metadata=bearer(credential)) if method.client_streaming else None
    if stream is None:
        stream = call(request_of(method, user_id), timeout=10, metadata=bearer(credential))
    else:
        await stream.write(request_of(method, user_id))
    await stream.read()
    return stream


@pytest.mark.parametrize("method", STREAMS, ids=lambda method: method.name)
async def test_stream_of_a_removed_api_key(method: MethodDescriptor, tmp_path: Path) -> None:
    """A reload without the key ends its stream and the handler behind it, and leaves the other back end's."""
    path, time, endless, user_id = tmp_path / "keys", Time(), Endless(), str(uuid.uuid4())
    path.write_text(f"{ENTRY.line()}\n{OTHER_ENTRY.line()}")
    async with serving(method, Settings(_env_file=None, api_keys_file=path), time, endless) as call:
        stream, other = [await opened(call, method, user_id, key) for key in (KEY, OTHER_KEY)]
        replacement = tmp_path / "new"
        replacement.write_text(OTHER_ENTRY.line())
        replacement.replace(path)
        await time.let_pass(RELOAD_INTERVAL)
        failure = await failure_of(stream.read())
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
        assert (endless.ended, other.done()) == (1, False)


@pytest.mark.parametrize(
    "method",
    [method for method in STREAMS if policy(method).user_field],
    ids=lambda method: method.name,
)
async def test_stream_of_a_token_whose_key_is_withdrawn(method: MethodDescriptor) -> None:
    """The refresh that finds the signing key gone ends the stream, and leaves those of the keys that are there."""
    time, endless, user_id = Time(), Endless(), str(uuid.uuid4())
    async with Project.serving() as project:
        settings = Settings(_env_file=None, api_keys=ENTRY.line(), **supabase_settings(project.url))
        async with serving(method, settings, time, endless) as call:
            tokens = [project.token(user_id, key=key) for key in ("stolen", "current")]
            stream, other = [await opened(call, method, user_id, token) for token in tokens]
            project.published = ["current"]
            await time.let_pass(REFRESH_INTERVAL)
            failure = await failure_of(stream.read())
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
            assert (endless.ended, other.done()) == (1, False)


class Flood:
    """Exports large records without end."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.ended = asyncio.Event()

    async def export_profile(self, _request: Any, _call: Call) -> AsyncIterator[Any]:
        """Answer for as long as somebody takes it."""
        self.answer.record.update({"text": "x" * 500_000})
        try:
            while True:
                yield self.answer
        finally:
            self.ended.set()


async def test_stream_that_nobody_reads_ends_as_well(tmp_path: Path) -> None:
    """A client that takes nothing in does not keep the handler of a revoked key, which waits for it to read."""
    path, time, flood = tmp_path / "keys", Time(), Flood()
    path.write_text(ENTRY.line())
    (method,) = [each for each in STREAMS if each.name == "ExportProfile"]
    async with serving(method, Settings(_env_file=None, api_keys_file=path), time, flood) as call:
        stream = await opened(call, method, str(uuid.uuid4()), KEY)
        replacement = tmp_path / "new"
        replacement.write_text(OTHER_ENTRY.line())
        replacement.replace(path)
        await time.let_pass(RELOAD_INTERVAL)
        async with asyncio.timeout(5):
            await flood.ended.wait()
        assert not stream.done()
