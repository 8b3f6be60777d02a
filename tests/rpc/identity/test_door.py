"""Headers alone are enough to be refused."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from support.credentials import KEY, OWN, SETTINGS, bearer, user_token
from support.edge import MATCHING, Edge, channel_to, failure_of
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.bootstrap.identity import open_identity
from wingmanmatch_server.interceptors.door import guarded_handler
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.health import Health

SEARCH = f"/{MATCHING.full_name}/ListCandidates"
WATCH = f"/{MATCHING.full_name}/WatchMatches"


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    """An edge with credentials in front of nothing."""
    edge = Edge()
    async with open_identity(Settings(_env_file=None, **SETTINGS)) as identity:
        handler = guarded_handler(MATCHING, None, edge.replaced(identity), identity)
        async with channel_to(Application([handler], Health(()), edge.registry)) as edge.channel:
            yield edge


async def nothing() -> AsyncIterator[bytes]:
    """A request that never comes."""
    await asyncio.Event().wait()
    yield b""


@pytest.mark.parametrize("path", [SEARCH, WATCH])
@pytest.mark.parametrize("credential", [None, "wmk_wrong", "not.a.token"])
async def test_refused_by_headers(edge: Edge, path: str, credential: str | None) -> None:
    """A call without a good credential ends although its request never comes, and is logged and counted like any."""
    call = edge.channel.stream_stream(path)(nothing(), timeout=10, metadata=bearer(credential))
    assert (await failure_of(call.read())).reason == "CREDENTIAL_INVALID"
    assert edge.handled(path.rpartition("/")[2], "UNAUTHENTICATED") == 1
    assert b"UNAUTHENTICATED" in edge.log_lines()[0]


@pytest.mark.parametrize("credential", [KEY, user_token(OWN)])
async def test_known_callers_are_read(edge: Edge, credential: str) -> None:
    """Who has a good credential is waited for, the first time too."""
    call = edge.channel.stream_stream(SEARCH)(nothing(), timeout=0.3, metadata=bearer(credential))
    assert (await failure_of(call.read())).code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("path", [SEARCH, WATCH])
async def test_no_request_at_all(edge: Edge, path: str) -> None:
    """A new token's call that ends without a request is answered."""
    call = edge.channel.stream_stream(path)(iter(()), timeout=10, metadata=bearer(user_token(OWN)))
    assert (await failure_of(call.read())).reason == "REQUEST_UNDECODABLE"


async def test_new_token_is_served(edge: Edge) -> None:
    """The first call of a token that takes verifying meets what every call meets."""
    request = matching_service_pb2.ListCandidatesRequest(user_id="x").SerializeToString()
    for _ in range(2):
        call = edge.channel.unary_unary(SEARCH)(request, timeout=10, metadata=bearer(user_token(OWN)))
        assert (await failure_of(call)).reason == "ACCESS_DENIED"
