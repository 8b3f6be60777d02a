"""What goes over the wire when a method is called, and how often."""

import asyncio
import uuid
from datetime import datetime, timedelta

import grpc
import pytest

from support.faces import Face
from support.scripted_server import Failure, ScriptedServer, Trailers
from wingmanmatch.coaching.v1 import coaching_service_pb2
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch_client import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
    WingmanMatchError,
    connect,
    rpcs,
)

ADA, BEN = str(uuid.uuid4()), str(uuid.uuid4())
GONE = Failure(grpc.StatusCode.UNAVAILABLE)


def told_to_wait(milliseconds: int) -> Failure:
    """Return a failure that tells the client when to try again; -1 says never."""
    return Failure(grpc.StatusCode.UNAVAILABLE, trailers=(("grpc-retry-pushback-ms", str(milliseconds)),))


async def test_retry_carries_the_same_request_id(client: Face, server: ScriptedServer) -> None:
    """A mutation gets one id, which all its attempts carry and the next call does not."""
    answer = matching_service_pb2.RequestMatchResponse()
    script = server.script(rpcs.MATCHING_REQUEST_MATCH, GONE, GONE, answer, answer)
    for _ in range(2):
        await client.call("matching", "request_match", user_id=ADA)
    first, second, third, other = [uuid.UUID(asked.message.request_id) for asked in script.asked]
    assert first == second == third != other
    assert [asked.metadata.get("grpc-previous-rpc-attempts") for asked in script.asked] == [None, "1", "2", None]


async def test_callers_request_id_is_kept(client: Face, server: ScriptedServer) -> None:
    """Who has an id of a step of their own gives it, and finds it in the error."""
    request_id = str(uuid.uuid4())
    script = server.script(rpcs.MATCHING_BLOCK_USER, Failure(grpc.StatusCode.DEADLINE_EXCEEDED))
    with pytest.raises(DeadlineExceeded) as caught:
        await client.call("matching", "block_user", user_id=ADA, blocked_user_id=BEN, request_id=request_id)
    assert script.asked[0].message.request_id == caught.value.request_id == request_id


@pytest.mark.parametrize("client", ["async"], indirect=True)
async def test_retries_end(client: Face, server: ScriptedServer) -> None:
    """Four attempts are made, and the last failure is raised."""
    script = server.script(rpcs.MATCHING_GET_PROFILE, *[GONE] * 5)
    with pytest.raises(Unavailable):
        await client.call("matching", "get_profile", user_id=ADA)
    assert len(script.asked) == 4


async def test_what_is_not_repeatable_is_not_repeated(client: Face, server: ScriptedServer) -> None:
    """Every Chat adds to the conversation, so it is sent once."""
    script = server.script(rpcs.COACHING_CHAT, (GONE,), (coaching_service_pb2.ChatResponse(),))
    with pytest.raises(Unavailable):
        await client.read("coaching", "chat", user_id=ADA, message="Hello")
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "code", [each for each in grpc.StatusCode if each not in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)]
)
async def test_only_unavailable_is_retried(client: Face, server: ScriptedServer, code: grpc.StatusCode) -> None:
    """Any other status is an answer."""
    script = server.script(rpcs.MATCHING_GET_PROFILE, Failure(code), GONE)
    with pytest.raises(WingmanMatchError) as caught:
        await client.call("matching", "get_profile", user_id=ADA)
    assert (caught.value.code, len(script.asked)) == (code, 1)


async def test_pushback_is_obeyed(client: Face, server: ScriptedServer) -> None:
    """A retry waits as long as the server says."""
    script = server.script(rpcs.MATCHING_GET_PROFILE, told_to_wait(700), matching_service_pb2.GetProfileResponse())
    await client.call("matching", "get_profile", user_id=ADA)
    assert script.moments[1] - script.moments[0] >= 0.69


@pytest.mark.parametrize("trailers", [(), (("grpc-retry-pushback-ms", "1"),)])
async def test_used_up_quota_is_told_at_once(client: Face, server: ScriptedServer, trailers: Trailers) -> None:
    """RESOURCE_EXHAUSTED is not retried, not even where the server says when it could be."""
    script = server.script(
        rpcs.MATCHING_GET_PROFILE, Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, trailers=trailers), GONE
    )
    with pytest.raises(ResourceExhausted):
        await client.call("matching", "get_profile", user_id=ADA)
    assert len(script.asked) == 1


@pytest.mark.parametrize("client", ["async"], indirect=True)
async def test_servers_in_trouble_are_spared(client: Face, server: ScriptedServer) -> None:
    """After ten failures in a row a call is made once, until answers pay for retries again."""
    script = server.script(rpcs.MATCHING_GET_PROFILE, *[told_to_wait(1)] * 20)
    attempts = []
    for _ in range(5):
        with pytest.raises(Unavailable):
            await client.call("matching", "get_profile", user_id=ADA)
        attempts.append(len(script.asked) - sum(attempts))
    assert attempts == [4, 4, 2, 1, 1]
    script.answers[:] = [*[matching_service_pb2.GetProfileResponse()] * 40, told_to_wait(1), told_to_wait(1)]
    for _ in range(40):
        await client.call("matching", "get_profile", user_id=ADA)
    with pytest.raises(Unavailable):
        await client.call("matching", "get_profile", user_id=ADA)
    assert len(script.asked) - sum(attempts) - 40 == 2


async def test_never_means_never(client: Face, server: ScriptedServer) -> None:
    """A server may forbid the retry."""
    script = server.script(rpcs.MATCHING_GET_PROFILE, told_to_wait(-1), GONE)
    with pytest.raises(Unavailable):
        await client.call("matching", "get_profile", user_id=ADA)
    assert len(script.asked) == 1


async def test_deadlines(client: Face, server: ScriptedServer) -> None:
    """A call has the deadline of its RPC's policy, or the one that the caller says."""
    answer = matching_service_pb2.GetProfileResponse()
    script = server.script(rpcs.MATCHING_GET_PROFILE, answer, answer)
    await client.call("matching", "get_profile", user_id=ADA)
    await client.call("matching", "get_profile", user_id=ADA, timeout=100)
    seconds = [asked.seconds or 0 for asked in script.asked]
    assert 0 < seconds[0] < 7
    assert 50 < seconds[1] < 102


async def test_call_that_takes_too_long(client: Face, server: ScriptedServer) -> None:
    """It ends at its deadline, and says by which id it can be asked for again."""
    server.script(rpcs.MATCHING_REQUEST_MATCH, None)
    with pytest.raises(DeadlineExceeded) as caught:
        await client.call("matching", "request_match", user_id=ADA, timeout=0.5)
    assert uuid.UUID(caught.value.request_id)


async def test_stream_that_watches_has_no_deadline(client: Face, server: ScriptedServer) -> None:
    """It may stay open for ever."""
    script = server.script(rpcs.MATCHING_WATCH_MATCHES, (Failure(grpc.StatusCode.FAILED_PRECONDITION),))
    with pytest.raises(FailedPrecondition):
        await client.read("matching", "watch_matches", user_id=ADA)
    # grpc.aio tells of a call without a deadline that it has none, or more than a lifetime.
    assert (script.asked[0].seconds or 1e12) > 1e9


async def test_key_is_sent(client: Face, server: ScriptedServer) -> None:
    """Every call carries the API key."""
    script = server.script(rpcs.MATCHING_GET_PROFILE, matching_service_pb2.GetProfileResponse())
    await client.call("matching", "get_profile", user_id=ADA)
    assert script.asked[0].metadata["authorization"] == "Bearer wmk_key"


async def test_pages_are_asked_for_one_after_the_other(client: Face, server: ScriptedServer) -> None:
    """An empty page in the middle is no end; only an empty token is."""
    pages = [(["a", "b"], "second"), ([], "third"), (["c"], "")]
    script = server.script(
        rpcs.MATCHING_LIST_MATCHES,
        *(
            matching_service_pb2.ListMatchesResponse(matches=[{"id": each} for each in ids], next_page_token=token)
            for ids, token in pages
        ),
    )
    found = await client.read("matching", "iter_matches", user_id=ADA, page_size=2)
    assert [match.id for match in found] == ["a", "b", "c"]
    assert [asked.message.page_token for asked in script.asked] == ["", "second", "third"]
    assert {asked.message.page_size for asked in script.asked} == {2}


async def test_no_page_too_many(client: Face, server: ScriptedServer) -> None:
    """Who has seen enough asks for no further page."""
    page = matching_service_pb2.ListMatchesResponse(matches=[{"id": "a"}, {"id": "b"}], next_page_token="more")
    script = server.script(rpcs.MATCHING_LIST_MATCHES, page, page)
    seen = client.open("matching", "iter_matches", user_id=ADA)
    assert [(await anext(seen)).id, (await anext(seen)).id] == ["a", "b"]
    assert len(script.asked) == 1
    await seen.aclose()


async def test_stream_that_nobody_reads_on_is_ended(client: Face, server: ScriptedServer) -> None:
    """Who leaves the loop ends the call, and the server is told."""
    script = server.script(rpcs.COACHING_CHAT, (coaching_service_pb2.ChatResponse(text_delta="Hello"), None))
    answer = client.open("coaching", "chat", user_id=ADA, message="Hello")
    assert (await anext(answer)).text_delta == "Hello"
    assert not script.left.is_set()
    await answer.aclose()
    async with asyncio.timeout(10):
        await script.left.wait()


async def test_cancelled_task_is_cancelled(server: ScriptedServer) -> None:
    """A task that is cancelled while it waits for an answer ends as any other, and its call with it."""
    script = server.script(rpcs.MATCHING_GET_PROFILE, None)
    async with connect(server.target) as client:
        waiting = asyncio.create_task(client.matching.get_profile(user_id=ADA))
        async with asyncio.timeout(10):
            await script.came.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await script.left.wait()


async def test_closing_ends_calls_by_an_error(client: Face, server: ScriptedServer) -> None:
    """Who waits for an answer when the client is closed is told so; its task is not cancelled."""
    server.script(rpcs.COACHING_CHAT, (coaching_service_pb2.ChatResponse(text_delta="Hello"), None))
    answer = client.open("coaching", "chat", user_id=ADA, message="Hello")
    await anext(answer)
    rest = asyncio.ensure_future(anext(answer))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(Cancelled):
        await rest


async def test_closed_client(client: Face) -> None:
    """Nothing is called by a client that is closed, and it may be closed again."""
    await client.close()
    await client.close()
    with pytest.raises(Cancelled, match="closed"):
        await client.call("matching", "get_profile", user_id=ADA)
    with pytest.raises(Cancelled, match="closed"):
        await client.read("coaching", "chat", user_id=ADA, message="Hello")
    assert await client.read("matching", "watch_matches", user_id=ADA) == []


async def test_python_values_become_messages(client: Face, server: ScriptedServer) -> None:
    """Spans, JSON and moments are given as Python has them."""
    script = server.script(rpcs.SESSION_CREATE_SESSION, session_service_pb2.CreateSessionResponse())
    await client.call("session", "create_session", user_id=ADA, data={"a": [1, None]}, ttl=timedelta(minutes=1.5))
    sent = script.asked[0].message
    assert (sent.ttl.seconds, list(sent.data["a"])) == (90, [1, None])


async def test_moment_without_an_offset_is_refused(client: Face, server: ScriptedServer) -> None:
    """It would be taken for UTC, and mean another hour."""
    script = server.script(rpcs.MEETUP_SCHEDULE_MEETUP, meetup_service_pb2.ScheduleMeetupResponse())
    with pytest.raises(ValueError, match="time zone"):
        await client.call(
            "meetup",
            "schedule_meetup",
            match_id=ADA,
            user_id=ADA,
            venue_name="park",
            scheduled_time=datetime(2027, 1, 1, 18, 0),  # noqa: DTZ001 - the mistake
        )
    assert script.asked == []
