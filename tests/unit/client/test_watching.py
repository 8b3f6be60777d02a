"""Streams that break are opened again where they were; those that broke for good raise."""

import uuid
from typing import Any

import grpc

from support.faces import Face
from support.scripted_server import Failure, ScriptedServer
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_client import Internal, NotFound, Unavailable, rpcs

ADA = str(uuid.uuid4())
FOR_GOOD = Failure(grpc.StatusCode.NOT_FOUND)
PASSING = [
    Failure(grpc.StatusCode.UNAVAILABLE),
    Failure(grpc.StatusCode.CANCELLED),
    Failure(grpc.StatusCode.ABORTED),
    Failure(grpc.StatusCode.INTERNAL),
    Failure(grpc.StatusCode.DEADLINE_EXCEEDED),
]


def event(number: int) -> matching_service_pb2.WatchMatchesResponse:
    """Return a message with an event."""
    return matching_service_pb2.WatchMatchesResponse(event={"match": {"id": str(number)}}, resume_token=f"at-{number}")


def heartbeat(number: int) -> matching_service_pb2.WatchMatchesResponse:
    """Return a message that only says where the stream is."""
    return matching_service_pb2.WatchMatchesResponse(resume_token=f"at-{number}")


async def read(client: Face, **arguments: Any) -> tuple[list[str], Exception | None]:
    """Read to the end, and return what came and by what it ended."""
    seen: list[str] = []
    try:
        async for message in client.open("matching", "watch_matches", user_id=ADA, **arguments):
            seen.append(message.event.match.id or "heartbeat")  # noqa: PERF401 - what came before an error counts
    except Exception as error:  # noqa: BLE001 - what the test looks at
        return seen, error
    return seen, None


async def test_stream_goes_on_where_it_was(client: Face, server: ScriptedServer) -> None:
    """After each failure that passes, and after an end in good order, the last token received opens the next stream."""
    breaks = [(event(number), failure) for number, failure in enumerate(PASSING, 1)]
    script = server.script(rpcs.MATCHING_WATCH_MATCHES, *breaks, (heartbeat(7),), (event(8), FOR_GOOD))
    seen, error = await read(client)
    assert seen == ["1", "2", "3", "4", "5", "8"]
    assert isinstance(error, NotFound)
    tokens = [asked.message.resume_token for asked in script.asked]
    assert tokens == ["", "at-1", "at-2", "at-3", "at-4", "at-5", "at-7"]


async def test_position_of_an_earlier_run(client: Face, server: ScriptedServer) -> None:
    """A program goes on where it was, even if it gets no further than that."""
    script = server.script(rpcs.MATCHING_WATCH_MATCHES, (PASSING[1],), (FOR_GOOD,))
    await read(client, resume_token="at-3")
    assert [asked.message.resume_token for asked in script.asked] == ["at-3", "at-3"]


async def test_heartbeats_on_request(client: Face, server: ScriptedServer) -> None:
    """They tell that the stream is open."""
    server.script(rpcs.MATCHING_WATCH_MATCHES, (heartbeat(1), event(2), FOR_GOOD))
    assert (await read(client, heartbeats=True))[0] == ["heartbeat", "2"]


async def test_patience_ends(client: Face, server: ScriptedServer) -> None:
    """Who does not want to wait for ever gets the error."""
    server.script(rpcs.MATCHING_WATCH_MATCHES, (event(1), PASSING[3]))
    seen, error = await read(client, patience=0)
    assert (seen, type(error)) == (["1"], Internal)


async def test_closing_the_client_ends_it(client: Face, server: ScriptedServer) -> None:
    """A thread or task that watches ends when the client is closed, in good order."""
    server.script(rpcs.MATCHING_WATCH_MATCHES, (event(1), event(2), Failure(grpc.StatusCode.UNAVAILABLE)))
    seen = []
    async for message in client.open("matching", "watch_matches", user_id=ADA, patience=0):
        seen.append(message.event.match.id)
        await client.close()
    assert "1" in seen


async def test_nobody_listens_there(client: Face) -> None:
    """A server that has no such method is no reason to go on asking."""
    _, error = await read(client)
    assert error is not None
    assert not isinstance(error, Unavailable)
