"""Streams that are kept open for longer than the credential that opened them is good."""

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from support.credentials import KEY, bearer
from support.edge import failure_of
from support.requests import TIMEOUT
from wingmanmatch.ratelimit.v1 import rate_limit_service_pb2
from wingmanmatch_server.identity.api_keys import create_key
from wingmanmatch_server.identity.published_keys import REFRESH_INTERVAL

LEAKED, LEAKED_ENTRY = create_key("leaked", ["*"], "l" * 43)

CHECK = rate_limit_service_pb2.StreamCheckRateLimitRequest(
    check={"descriptors": [{"policy": "public_api", "subject": "somebody"}]}
)


async def opened(stream: Any) -> None:
    """Return once the server has answered on the stream."""
    async with asyncio.timeout(TIMEOUT):
        assert await stream.read() is not grpc.aio.EOF


async def end_of(stream: Any) -> tuple[grpc.StatusCode, str]:
    """Read a stream to its end and return how it failed."""

    async def read() -> None:
        while await stream.read() is not grpc.aio.EOF:
            pass

    failure = await failure_of(read())
    return failure.code, failure.reason


def replace(path: Path, text: str) -> None:
    """Put another file into the place of one."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


async def test_stream_past_the_expiry_of_its_token(target: Any) -> None:
    """It ends within a second of the expiry, says why, and the same token opens no other."""
    expiry = int(time.time()) + 3
    token = target.project.token(target.user_id, exp=expiry)
    stream = target.watch(token)
    await opened(stream)
    assert await end_of(stream) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert expiry <= time.time() < expiry + 1
    assert await end_of(target.watch(token)) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


async def test_streams_of_a_revoked_api_key(target: Any) -> None:
    """Streams of every kind end within seconds of the key's removal from the file, and those of other keys stay."""
    replace(target.keys_file, LEAKED_ENTRY.line())
    bystander = target.watch(KEY)
    await opened(bystander)
    async with asyncio.timeout(TIMEOUT):
        while True:
            stream = target.watch(LEAKED)
            try:
                await opened(stream)
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)
    check = target.client.rate_limit.StreamCheckRateLimit(timeout=100, metadata=bearer(LEAKED))
    await check.write(CHECK)
    await opened(check)
    replace(target.keys_file, "# gone")
    revoked = time.monotonic()
    assert await end_of(stream) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert await end_of(check) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert time.monotonic() - revoked < 3
    assert not bystander.done()
    bystander.cancel()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_stream_and_calls_of_a_revoked_signing_key(target: Any) -> None:
    """A key that the project no longer publishes is refused, and its streams end, within the refresh interval."""
    stolen, good = (target.project.token(target.user_id, key=key) for key in ("stolen", "current"))
    stream, bystander = target.watch(stolen), target.watch(good)
    await opened(stream)
    await opened(bystander)
    target.project.published = ["current"]
    revoked = time.monotonic()
    assert await end_of(stream) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert time.monotonic() - revoked < REFRESH_INTERVAL + 2
    assert await end_of(target.watch(stolen)) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert not bystander.done()
    target.project.published = []
    assert await end_of(bystander) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
