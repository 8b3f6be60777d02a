"""Values that the wire can carry and the types do not allow, from whoever may call, at the shipped limits."""

import math
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from support.credentials import KEY, SETTINGS, bearer, user_token
from support.databases import fresh_database
from support.edge import Failure, failure_of
from support.requests import TIMEOUT, profile
from support.server import serving_application
from support.stubs import Stubs
from support.webhooks import SECRET, body_of, sign
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2
from wingmanmatch.notification.v1 import notification_pb2, notification_service_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.session.keys import session_key

BACKEND = bearer(KEY)
TRAILERS = 8 << 10  # bytes that every client accepts
NANOS = [-1, -5, 2_000_000_000, 2**31 - 1]
TTLS = [Duration(seconds=5, nanos=-5), Duration(nanos=2_000_000_000), Duration(seconds=2**63 - 1)]
LAST, FIRST = Timestamp(seconds=253_402_300_799), Timestamp(seconds=-62_135_596_800)


@pytest.fixture(scope="module")
def redis_url(engines: EmbeddedEngines) -> str:
    """A database of Redis for these tests alone."""
    return f"{engines.redis_url}?db=12"


@pytest.fixture(scope="module")
async def client(admin_dsn: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stubs]:
    """A client of a server with credentials and the built-in limits."""
    folder: Path = tmp_path_factory.mktemp("data")
    async with open_redis(redis_url) as redis:
        await redis.client.flushdb()
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, redis_url, folder, **SETTINGS, resend_webhook_secret=SECRET) as client,
    ):
        yield client


async def joined(client: Stubs, **changes: Any) -> str:
    """Create a profile and return its id."""
    sent = profile(**changes)
    request = matching_service_pb2.UpsertProfileRequest(profile=sent)
    await client.matching.UpsertProfile(request, timeout=TIMEOUT, metadata=BACKEND)
    return sent.user_id


async def refused(call: Callable[..., Any], request: Any, field: str, metadata: Any = BACKEND) -> Failure:
    """Call, and check that the request is refused for one field."""
    failure = await failure_of(call(request, timeout=TIMEOUT, metadata=metadata))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(failure.violations) == [field]
    return failure


@pytest.mark.parametrize("nanos", NANOS)
async def test_time_of_a_meetup_that_is_none(client: Stubs, nanos: int) -> None:
    """A user's token is enough to send one, and brings no more than the field's name."""
    me, some = str(uuid.uuid4()), str(uuid.uuid4())
    when, token = Timestamp(seconds=1_800_000_000, nanos=nanos), bearer(user_token(me))
    new = meetup_service_pb2.ScheduleMeetupRequest(match_id=some, user_id=me, scheduled_time=when)
    moved = meetup_service_pb2.RescheduleMeetupRequest(meetup_id=some, user_id=me, scheduled_time=when)
    await refused(client.meetup.ScheduleMeetup, new, "scheduled_time", token)
    await refused(client.meetup.RescheduleMeetup, moved, "scheduled_time", token)


async def test_refused_mail_costs_its_recipient_nothing(client: Stubs) -> None:
    """However often a mail with a bad time is asked for, the recipient's bucket of `email_send` stays full."""
    me = str(uuid.uuid4())
    reminder = notification_pb2.SessionReminder(partner_name="Ben", scheduled_time=Timestamp(seconds=2**60))
    decline: dict[str, Any] = {"match_decline": {"decliner_name": "Ben"}}
    bad: list[tuple[dict[str, Any], str]] = [
        (decline | {"send_time": Timestamp(nanos=-1)}, "send_time"),
        (decline | {"send_time": Timestamp(seconds=-(2**60))}, "send_time"),
        ({"session_reminder": reminder}, "session_reminder.scheduled_time"),
        (decline | {"time_zone": "Mars/Phobos"}, "time_zone"),
    ]
    for fields, field in bad * 5:
        request = notification_service_pb2.SendNotificationRequest(user_id=me, **fields)
        await refused(client.notification.SendNotification, request, field)
    peek = rate_limit_service_pb2.PeekRateLimitRequest(descriptors=[{"policy": "email_send", "subject": me}])
    (left,) = (await client.rate_limit.PeekRateLimit(peek, timeout=TIMEOUT, metadata=BACKEND)).results
    assert left.remaining == left.limit


@pytest.mark.parametrize(("time", "zone"), [(LAST, "Pacific/Kiritimati"), (FIRST, "America/Los_Angeles")])
@pytest.mark.parametrize("kind", ["session_reminder", "match_acceptance", "meetup_moved"])
async def test_time_that_no_clock_on_a_wall_shows(client: Stubs, time: Timestamp, zone: str, kind: str) -> None:
    """The first and the last moment of the calendar are refused by the preview and by the mail alike."""
    names = {"match_acceptance": "accepter_name"}
    fields: dict[str, Any] = {names.get(kind, "partner_name"): "Ben", "scheduled_time": time}
    preview = notification_service_pb2.PreviewNotificationRequest(time_zone=zone, **{kind: fields})
    await refused(client.notification.PreviewNotification, preview, f"{kind}.scheduled_time")
    if kind != "meetup_moved":
        send = notification_service_pb2.SendNotificationRequest(
            recipient_email="somebody@example.org", time_zone=zone, **{kind: fields}
        )
        await refused(client.notification.SendNotification, send, f"{kind}.scheduled_time")


@pytest.mark.parametrize("second", [946_684_800, 7_258_118_399])
async def test_first_and_last_time_that_mails_write(client: Stubs, second: int) -> None:
    """The bounds of times in mails are far enough from the calendar's end for every time zone."""
    for zone in ("Pacific/Kiritimati", "America/Los_Angeles", "Europe/Vienna"):
        reminder = notification_pb2.SessionReminder(partner_name="Ben", scheduled_time=Timestamp(seconds=second))
        request = notification_service_pb2.PreviewNotificationRequest(session_reminder=reminder, time_zone=zone)
        shown = await client.notification.PreviewNotification(request, timeout=TIMEOUT, metadata=BACKEND)
        local = datetime.fromtimestamp(second, UTC).year
        assert any(str(year) in shown.text for year in (local - 1, local, local + 1))


@pytest.mark.parametrize("ttl", TTLS, ids=str)
async def test_life_of_a_session_that_is_none(client: Stubs, ttl: Duration) -> None:
    """A duration that is none opens no session and extends none."""
    me = str(uuid.uuid4())
    create = session_service_pb2.CreateSessionRequest(user_id=me, ttl=ttl)
    await refused(client.session.CreateSession, create, "ttl")
    touch = session_service_pb2.TouchSessionRequest(token="x", ttl=ttl)
    await refused(client.session.TouchSession, touch, "ttl")
    listed = session_service_pb2.ListSessionsRequest(user_id=me)
    assert not (await client.session.ListSessions(listed, timeout=TIMEOUT, metadata=BACKEND)).sessions


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_data_that_no_client_can_print(client: Stubs, number: float) -> None:
    """Numbers that JSON lacks are refused by both methods that store data, by the path of each."""
    data = Struct()
    data.fields["a"].struct_value.fields["b"].number_value = number
    path = 'data.fields["a"].struct_value.fields["b"]'
    create = session_service_pb2.CreateSessionRequest(user_id=str(uuid.uuid4()), data=data)
    update = session_service_pb2.UpdateSessionRequest(token="x", data=data)
    await refused(client.session.CreateSession, create, path)
    await refused(client.session.UpdateSession, update, path)


def objects(levels: int) -> Struct:
    """Return objects within one another."""
    data = Struct()
    inner: Any = data
    for _ in range(levels - 1):
        inner = inner.fields["a"].struct_value
    inner.fields["a"].string_value = "deep"
    return data


def lists(levels: int) -> Struct:
    """Return lists within one another, in an object."""
    data = Struct()
    inner: Any = data.fields["a"]
    for _ in range(levels):
        inner = inner.list_value.values.add()
    inner.bool_value = True
    return data


@pytest.mark.parametrize(("nested", "deepest"), [(objects, 32), (lists, 46)], ids=["objects", "lists"])
async def test_data_as_deep_as_its_export_can_be_read(
    client: Stubs, nested: Callable[[int], Struct], deepest: int
) -> None:
    """The deepest data that are taken come back whole and are exported whole; one level more is refused."""
    me, data = await joined(client), nested(deepest)
    create = session_service_pb2.CreateSessionRequest(user_id=me, data=data)
    created = await client.session.CreateSession(create, timeout=TIMEOUT, metadata=BACKEND)
    assert created.session.data == data
    deeper = session_service_pb2.CreateSessionRequest(user_id=me, data=nested(deepest + 1))
    await refused(client.session.CreateSession, deeper, "data")
    (session,) = [each for each in await exported(client, me) if each.kind == SESSION]
    assert MessageToDict(session.record)["data"] == MessageToDict(data)
    assert MessageToJson(session)


SESSION = matching_pb2.EXPORT_RECORD_KIND_SESSION
CONVERSATION = matching_pb2.EXPORT_RECORD_KIND_CONVERSATION


async def exported(client: Stubs, user_id: str) -> list[Any]:
    """Return all records of a person's export, by the person's own token."""
    request = matching_service_pb2.ExportProfileRequest(user_id=user_id)
    call = client.matching.ExportProfile(request, timeout=TIMEOUT, metadata=bearer(user_token(user_id)))
    return [each async for each in call]


def with_nan() -> bytes:
    """Return data as earlier versions took them."""
    data = Struct()
    data.fields["a"].number_value = math.nan
    return data.SerializeToString()


@pytest.mark.parametrize(
    "stored", [with_nan(), objects(33).SerializeToString(), b"\xff\xff"], ids=["NaN", "deep", "none"]
)
async def test_bad_record_ends_no_export(client: Stubs, redis_url: str, stored: bytes) -> None:
    """A session whose stored data nobody can read is named as such, and what stands before and behind it is there."""
    me = await joined(client)
    create = session_service_pb2.CreateSessionRequest(user_id=me)
    first, *_ = [await client.session.CreateSession(create, timeout=TIMEOUT, metadata=BACKEND) for _ in range(3)]
    conversation = str(uuid.uuid4())
    async with open_redis(redis_url) as redis:
        await redis.client.hset(session_key(first.token), "data", stored)
        fields = {"v": "1", "version": "1", "messages": "[[", "summary": "", "create_time": 1, "update_time": 1}
        await redis.client.hset(f"coach:{{{me}}}:conversation:{conversation}", mapping=fields | {"expire_time": 1})
        await redis.client.zadd(f"coach:{{{me}}}:conversations", {conversation: 2e12})
    records = await exported(client, me)
    sessions = [MessageToDict(each.record) for each in records if each.kind == SESSION]
    assert [each.get("unreadable") for each in sessions].count(["data"]) == 1
    assert len(sessions) == 3
    assert all("id" in each and "expire_time" in each for each in sessions)
    (unread,) = [MessageToDict(each.record) for each in records if each.kind == CONVERSATION]
    assert unread == {"id": conversation, "user_id": me, "unreadable": ["messages", "summary"]}


@pytest.mark.parametrize("count", [60, 80, 150, 1000])
async def test_many_broken_rules_fit_into_trailers(client: Stubs, count: int) -> None:
    """However many rules a request breaks, a client with its own defaults gets INVALID_ARGUMENT, cut to a bound."""
    bad = [rate_limit_pb2.RateLimitDescriptor(policy="NO SUCH\n" * 3, subject="x")] * count
    request = rate_limit_service_pb2.CheckRateLimitRequest(descriptors=bad)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.rate_limit.CheckRateLimit(request, timeout=TIMEOUT, metadata=BACKEND)
    error = raised.value
    trailers = sum(len(name) + len(value) + 32 for name, value in error.trailing_metadata() or ())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailers + len((error.details() or "").encode()) < TRAILERS
    assert Failure(error).violations["descriptors[0].policy"]
    assert f"and {count - 5} more" in (error.details() or "")


async def test_long_names_fit_into_trailers(client: Stubs) -> None:
    """Nor do long keys of data, in letters that trailers write with nine characters each, make an answer too long."""
    data = Struct()
    for number in range(20):
        inner: Any = data
        for _ in range(30):
            inner = inner.fields[f"{number}" + "語" * 30].struct_value
        inner.fields["x"].number_value = math.nan
    request = session_service_pb2.CreateSessionRequest(user_id=str(uuid.uuid4()), data=data)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.session.CreateSession(request, timeout=TIMEOUT, metadata=BACKEND)
    error = raised.value
    trailers = sum(len(name) + len(value) + 32 for name, value in error.trailing_metadata() or ())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailers + 3 * len((error.details() or "").encode()) < TRAILERS


SAID = {"data.email_id": {"email_id": "a\0b"}, "data.to": {"to": ["a\0@x.example"]}, "type": {"kind": "sent\0"}}


@pytest.mark.parametrize(("field", "said"), SAID.items(), ids=SAID)
async def test_event_with_a_nul(client: Stubs, field: str, said: dict[str, Any]) -> None:
    """An event that is signed and holds what no database stores is refused, and is no failure of the server's."""
    event = sign(body_of(**{"kind": "bounced"} | said))
    request = notification_service_pb2.RecordDeliveryEventRequest(
        svix_id=event.event_id,
        svix_timestamp=event.timestamp,
        svix_signature=event.signature,
        payload=event.payload,
    )
    await refused(client.notification.RecordDeliveryEvent, request, field)


@pytest.mark.parametrize("path", ["/wingmanmatch.matching.v1.MatchingService/GetMatches", "/no.Such/Method", "/", "/x"])
async def test_unknown_method_has_a_reason(client: Stubs, path: str) -> None:
    """A method that does not exist is refused like one that is not implemented, whichever way it is called."""
    async with grpc.aio.insecure_channel(client.target) as channel:
        single = await failure_of(channel.unary_unary(path)(b"anything", timeout=TIMEOUT))
        stream = await failure_of(channel.unary_stream(path)(b"", timeout=TIMEOUT, metadata=BACKEND).read())
    for failure in (single, stream):
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")


async def test_unknown_group_that_another_parser_refuses(client: Stubs) -> None:
    """A field that nobody reads, of number 0 within an unknown group, fails no request."""
    me = await joined(client)
    request = notification_service_pb2.UpdatePreferencesRequest(user_id=me)
    request.kinds.add(kind=notification_pb2.NOTIFICATION_KIND_MATCH_DECLINE, enabled=False)
    data = request.SerializeToString() + b"\x33\x02\x01a\x34"
    async with grpc.aio.insecure_channel(client.target) as channel:
        update = channel.unary_unary("/wingmanmatch.notification.v1.NotificationService/UpdatePreferences")
        answer = await update(data, timeout=TIMEOUT, metadata=BACKEND)
    assert notification_service_pb2.UpdatePreferencesResponse.FromString(answer).preferences.user_id == me
