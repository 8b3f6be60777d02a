"""WatchMatches over the wire: what callers see of it, at one server and at two."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2

from support.databases import fresh_database
from support.edge import failure_of
from support.requests import TIMEOUT, invite, join, join_pair
from support.server import roomy_limits, serving_application
from support.stubs import Stubs, open_stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server.bootstrap import SERVICES, Application, open_application
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.interceptors.policy import methods_of
from wingmanmatch_server.serving import listening
from wingmanmatch_server.settings import Settings

# Otherwise gRPC itself takes megabytes for a reader that does not read.
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))
Update = matching_service_pb2.WatchMatchesResponse
REQUESTED, ACCEPTED, CANCELLED = (
    matching_pb2.MATCH_EVENT_KIND_REQUESTED,
    matching_pb2.MATCH_EVENT_KIND_ACCEPTED,
    matching_pb2.MATCH_EVENT_KIND_CANCELLED,
)


class Watcher:
    """One open stream."""

    def __init__(self, client: Stubs, user_id: str, resume_token: str = "") -> None:
        request = matching_service_pb2.WatchMatchesRequest(user_id=user_id, resume_token=resume_token)
        self.call = client.matching.WatchMatches(request, timeout=60)
        self.resume_token = ""

    async def message(self) -> Update:
        """Return the next message."""
        async with asyncio.timeout(TIMEOUT):
            message: Update = await self.call.read()
        assert message is not grpc.aio.EOF
        self.resume_token = message.resume_token
        return message

    async def event(self) -> matching_pb2.MatchEvent:
        """Return the next event, past heartbeats."""
        while not (message := await self.message()).HasField("event"):
            pass
        return message.event


@asynccontextmanager
async def watching(client: Stubs, user_id: str, resume_token: str = "") -> AsyncIterator[Watcher]:
    """Open a stream and yield it once it says where it begins."""
    watcher = Watcher(client, user_id, resume_token)
    try:
        assert not (await watcher.message()).HasField("event")
        yield watcher
    finally:
        watcher.call.cancel()


async def cancel(client: Stubs, match: matching_pb2.Match) -> None:
    """Withdraw an invitation."""
    request = matching_service_pb2.CancelMatchRequest(match_id=match.id, user_id=match.requester_id)
    await client.matching.CancelMatch(request, timeout=TIMEOUT)


async def accept(client: Stubs, match: matching_pb2.Match) -> matching_pb2.Match:
    """Accept an invitation and return the match."""
    request = matching_service_pb2.RespondToMatchRequest(
        match_id=match.id, user_id=match.invitee_id, response=matching_pb2.MATCH_RESPONSE_ACCEPT
    )
    return (await client.matching.RespondToMatch(request, timeout=TIMEOUT)).match


async def test_both_people_see_what_happens(client: Stubs) -> None:
    """An invitation and its acceptance reach both, in order, each with the match as it was then."""
    requester, invitee = await join_pair(client)
    async with watching(client, requester) as first, watching(client, invitee) as second:
        match = await invite(client, requester, invitee, message="Hello!")
        accepted = await accept(client, match)
        for watcher in (first, second):
            events = [await watcher.event(), await watcher.event()]
            assert [event.kind for event in events] == [REQUESTED, ACCEPTED]
            assert [event.match for event in events] == [match, accepted]
            assert events[0].event_time.ToDatetime() <= events[1].event_time.ToDatetime()
            assert events[0].meetup_id == ""


async def test_strangers_see_nothing(client: Stubs) -> None:
    """A third person's stream stays silent while others meet."""
    requester, invitee = await join_pair(client)
    stranger = await join(client)
    async with watching(client, stranger.user_id) as watcher, watching(client, invitee) as witness:
        await invite(client, requester, invitee)
        await witness.event()
        neighbour = await join(client, location=stranger.location)
        own = await invite(client, stranger.user_id, neighbour.user_id)
        assert (await watcher.event()).match == own


async def test_resuming_leaves_out_and_repeats_nothing(client: Stubs) -> None:
    """A stream that goes on from any message's token brings exactly what followed that message."""
    requester, invitee = await join_pair(client)
    tokens, kinds = [], []
    async with watching(client, invitee) as watcher:
        tokens.append(watcher.resume_token)
        match = await invite(client, requester, invitee)
        await accept(client, match)
        for _ in range(2):
            kinds.append((await watcher.event()).kind)
            tokens.append(watcher.resume_token)
    for place, token in enumerate(tokens):
        async with watching(client, invitee.upper(), token) as again:
            assert again.resume_token == token
            assert [(await again.event()).kind for _ in kinds[place:]] == kinds[place:]


async def test_what_happens_between_streams_is_not_missed(client: Stubs) -> None:
    """Events of the time without a stream come first when it is resumed."""
    requester, invitee = await join_pair(client)
    async with watching(client, requester) as watcher:
        token = watcher.resume_token
    match = await invite(client, requester, invitee)
    await cancel(client, match)
    async with watching(client, requester, token) as watcher:
        assert [(await watcher.event()).kind for _ in range(2)] == [REQUESTED, CANCELLED]


async def test_stream_from_now_on_has_no_past(client: Stubs) -> None:
    """Without a token a stream begins with what happens next."""
    requester, invitee = await join_pair(client)
    match = await invite(client, requester, invitee)
    async with watching(client, invitee) as watcher:
        await accept(client, match)
        assert (await watcher.event()).kind == ACCEPTED


async def test_nobody_cannot_be_watched(client: Stubs) -> None:
    """A person without a profile is not found."""
    call = Watcher(client, "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a001").call
    failure = await failure_of(call.read())
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND")


async def test_tokens_of_others_are_refused(client: Stubs) -> None:
    """A token works for the person it was issued for; any other text is refused, naming the field."""
    first, second = await join_pair(client)
    async with watching(client, first) as watcher:
        token = watcher.resume_token
    for bad in (token + "A", token[:-2], "?", "AAAA", "A" * 512):
        failure = await failure_of(Watcher(client, first, bad).call.read())
        assert (failure.code, failure.violations) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            {"resume_token": "RESUME_TOKEN_INVALID"},
        )
    failure = await failure_of(Watcher(client, second, token).call.read())
    assert failure.reason == "RESUME_TOKEN_INVALID"


@pytest.fixture
async def replicas(
    admin_dsn: str, engines: EmbeddedEngines, tmp_path: Any, transport: str
) -> AsyncIterator[tuple[Stubs, Stubs]]:
    """Clients of two servers on one database."""
    options: dict[str, Any] = {"transport": transport, "rate_limits_file": roomy_limits(tmp_path)}
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, engines.redis_url, tmp_path, **options) as one,
        serving_application(dsn, engines.redis_url, tmp_path, **options) as other,
    ):
        yield one, other


async def test_slow_reader_is_ended_and_can_resume(admin_dsn: str, engines: EmbeddedEngines, tmp_path: Any) -> None:
    """Who does not read while much happens gets ABORTED, and by the last token every single event."""
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_port(dsn, engines.redis_url, tmp_path) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=SMALL_WINDOW) as channel,
    ):
        client = Stubs(channel)
        requester, invitee = await join_pair(client)
        async with watching(client, invitee) as watcher:
            match = await invite(client, requester, invitee, message="x" * 500)
            count = await flip_states(dsn, match.id, turns=600)
            seen: list[int] = []
            failure = await failure_of(read_on(watcher, seen))
            assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "READER_TOO_SLOW")
            assert len(seen) < count
            token = watcher.resume_token
        async with watching(client, invitee, token) as watcher:
            while len(seen) < count:
                seen.append((await watcher.event()).event_time.ToNanoseconds())
        assert len(set(seen)) == count
        assert seen == sorted(seen)


async def read_on(watcher: Watcher, seen: list[int]) -> None:
    """Note the times of all events until the stream fails."""
    while True:
        seen.append((await watcher.event()).event_time.ToNanoseconds())


@asynccontextmanager
async def serving_port(dsn: str, redis_url: str, data_dir: Path) -> AsyncIterator[tuple[Application, int]]:
    """Serve the application and yield it with its port."""
    settings = Settings(_env_file=None, data_dir=data_dir)
    async with (
        open_application(settings, dsn, redis_url, io.BytesIO()) as application,
        listening(application, "127.0.0.1:0") as (_, port),
    ):
        yield application, port


async def flip_states(dsn: str, match_id: str, turns: int) -> int:
    """Let a match change its state so often, each time by itself, and return the number of its events."""
    sql = await asyncpg.connect(dsn)
    try:
        for turn in range(turns):
            state = ("CANCELLED", "EXPIRED")[turn % 2]
            await sql.execute("update matches set state = $2 where id = $1", match_id, state)
        count: int = await sql.fetchval("select count(*) from match_events where match_id = $1", match_id) // 2
        return count
    finally:
        await sql.close()


async def test_stopping_server_ends_streams_at_once(admin_dsn: str, engines: EmbeddedEngines, tmp_path: Any) -> None:
    """A server that drains ends its streams with UNAVAILABLE and when to come back, and takes no new ones."""
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_port(dsn, engines.redis_url, tmp_path) as (application, port),
        open_stubs(f"127.0.0.1:{port}") as client,
    ):
        me = (await join(client)).user_id
        async with watching(client, me) as watcher:
            assert application.registry.get_sample_value("matching_watch_streams") == 1
            application.drain()
            for call in (watcher.call, Watcher(client, me).call):
                failure = await failure_of(call.read())
                assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
                assert failure.detail(error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() == 1
        assert application.registry.get_sample_value("matching_watch_streams") == 0


async def test_events_cross_replicas_and_so_do_tokens(replicas: tuple[Stubs, Stubs]) -> None:
    """What happens at one server is seen at the other, and a stream of one is resumed at the other."""
    one, other = replicas
    requester, invitee = await join_pair(one)
    async with watching(other, invitee) as watcher:
        match = await invite(one, requester, invitee)
        assert (await watcher.event()).kind == REQUESTED
        token = watcher.resume_token
    await accept(other, match)
    async with watching(one, invitee, token) as watcher:
        assert (await watcher.event()).kind == ACCEPTED


def test_streams_have_no_default_deadline() -> None:
    """The edge ends a call that takes longer than its policy says; a stream's policy says nothing."""
    (service,) = (each for each in SERVICES if each.name == "MatchingService")
    deadlines = {method.name: method.default_deadline for method in methods_of(service)}
    assert [name for name, deadline in deadlines.items() if deadline is None] == ["WatchMatches"]
