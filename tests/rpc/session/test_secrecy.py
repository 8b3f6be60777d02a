"""What the server says of sessions to its logs."""

import io
import uuid
from collections.abc import AsyncIterator, Iterator

import orjson
import pytest
import structlog
from google.protobuf.struct_pb2 import Struct

from support.edge import Edge, failure_of, serving
from support.limiters import until
from support.page_tokens import PAGES
from support.sessions import HOUR, create_store
from wingmanmatch.session.v1 import session_service_pb2 as pb
from wingmanmatch.session.v1 import session_service_pb2_grpc
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.session.keys import session_key
from wingmanmatch_server.session.service import SessionService
from wingmanmatch_server.telemetry.logs import configure_logs

SERVICE = pb.DESCRIPTOR.services_by_name["SessionService"]
USER = str(uuid.uuid4())


@pytest.fixture
def failure_log() -> Iterator[io.BytesIO]:
    """What the server logs besides the calls themselves."""
    output = io.BytesIO()
    configure_logs("json", output)
    yield output
    structlog.reset_defaults()


@pytest.fixture
async def edge(redis: RedisServer) -> AsyncIterator[Edge]:
    """The server's edge around its session service."""
    async with serving(SessionService(create_store(redis), PAGES, timeout=HOUR), service=SERVICE) as edge:
        yield edge


async def test_logs_hold_no_secrets(edge: Edge, redis: RedisServer, failure_log: io.BytesIO) -> None:
    """Neither the access log nor the log of failures has a token, its hash, data or a person in it."""
    session = session_service_pb2_grpc.SessionServiceStub(edge.channel)
    data = Struct()
    data["nickname"] = "Tiberius"
    token = (await session.CreateSession(pb.CreateSessionRequest(user_id=USER, data=data), timeout=5)).token
    get = pb.GetSessionRequest(token=token)
    await session.GetSession(get, timeout=5)
    await session.UpdateSession(pb.UpdateSessionRequest(token=token, data=data), timeout=5)
    await session.ListSessions(pb.ListSessionsRequest(user_id=USER), timeout=5)
    await failure_of(session.GetSession(pb.GetSessionRequest(token=token[::-1]), timeout=5))
    await redis.client.set(session_key(token), "no session")
    for call in (session.GetSession(get, timeout=5), session.TouchSession(pb.TouchSessionRequest(token=token))):
        assert (await failure_of(call)).reason == "INTERNAL"
    # A client may have its answer a moment before the server has written the line.
    await until(lambda: len(edge.log_lines()) == 7)
    lines = edge.log_lines()
    assert [orjson.loads(line)["reason"] for line in lines] == [""] * 4 + ["SESSION_NOT_FOUND", "INTERNAL", "INTERNAL"]
    failures = failure_log.getvalue().decode()
    assert failures.count("rpc_failed") == 2
    for secret in (token, token[:43], token[::-1], session_key(token), session_key(token)[-64:], "Tiberius", USER):
        assert secret not in b"".join(lines).decode() + failures
