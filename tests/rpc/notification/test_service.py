"""NotificationService, through the whole server."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from support.edge import failure_of
from support.requests import TIMEOUT
from support.requests import join as joined
from support.stubs import Stubs
from wingmanmatch.notification.v1 import notification_pb2, notification_service_pb2

DECLINE = notification_pb2.MatchDecline(decliner_name="Ben")
SCHEDULED = notification_pb2.NOTIFICATION_STATE_SCHEDULED
CANCELLED = notification_pb2.NOTIFICATION_STATE_CANCELLED


def in_hours(hours: float) -> Timestamp:
    """Return a time to come."""
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + timedelta(hours=hours))
    return moment


async def send(client: Stubs, **fields: Any) -> notification_pb2.Notification:
    """Ask for a mail, a decline to an address unless `fields` say otherwise."""
    defaults: dict[str, Any] = {} if "user_id" in fields else {"recipient_email": f"{uuid.uuid4().hex}@example.org"}
    if not fields.keys() & {"match_invitation", "match_acceptance", "session_reminder"}:
        defaults["match_decline"] = DECLINE
    request = notification_service_pb2.SendNotificationRequest(**defaults | fields)
    return (await client.notification.SendNotification(request, timeout=TIMEOUT)).notification


async def get(client: Stubs, notification_id: str, user_id: str = "") -> notification_pb2.Notification:
    """Return a mail."""
    request = notification_service_pb2.GetNotificationRequest(notification_id=notification_id, user_id=user_id)
    return (await client.notification.GetNotification(request, timeout=TIMEOUT)).notification


async def join(client: Stubs) -> str:
    """Create somebody."""
    return (await joined(client)).user_id


async def test_mail_goes_out(client: Stubs) -> None:
    """A mail to an address is sent; who asks later is told so, and never the address."""
    stored = await send(client)
    assert (stored.kind, stored.user_id) == (notification_pb2.NOTIFICATION_KIND_MATCH_DECLINE, "")
    async with asyncio.timeout(10):
        while (found := await get(client, stored.id)).state != notification_pb2.NOTIFICATION_STATE_SENT:
            await asyncio.sleep(0.05)
    assert found.provider_message_id
    assert found.HasField("sent_time")
    assert "example.org" not in str(found)


async def test_each_content(client: Stubs) -> None:
    """Each content is a kind of its own, and a reminder is worth nothing after the meet-up."""
    invitation = await send(
        client, match_invitation=notification_pb2.MatchInvitation(inviter_name="Ben", venue_suggestion="Café Central")
    )
    acceptance = await send(client, match_acceptance=notification_pb2.MatchAcceptance(accepter_name="Ben"))
    when = in_hours(30)
    reminder = await send(
        client,
        session_reminder=notification_pb2.SessionReminder(partner_name="Ben", scheduled_time=when),
        send_time=in_hours(6),
    )
    assert [each.kind for each in (invitation, acceptance, reminder)] == [1, 2, 4]
    assert (reminder.state, reminder.expire_time) == (SCHEDULED, when)


async def test_repeated_request_is_one_mail(client: Stubs) -> None:
    """The same request_id is the same mail; with another body it is refused."""
    fields: dict[str, Any] = {
        "recipient_email": "cat@example.org",
        "request_id": str(uuid.uuid4()),
        "send_time": in_hours(1),
    }
    assert (await send(client, **fields)).id == (await send(client, **fields)).id
    failure = await failure_of(send(client, **fields | {"recipient_name": "Cat"}))
    assert failure.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"recipient_email": ""}, "FIELD_INVALID", "recipient"),
        ({"recipient_email": "nobody"}, "FIELD_INVALID", "recipient_email"),
        ({"time_zone": "Mars/Olympus"}, "FIELD_INVALID", "time_zone"),
        ({"recipient_name": "Ann\nBcc: x@example.org"}, "FIELD_INVALID", "recipient_name"),
        ({"match_invitation": notification_pb2.MatchInvitation()}, "FIELD_INVALID", "match_invitation.inviter_name"),
    ],
)
async def test_bad_input(client: Stubs, fields: dict[str, Any], reason: str, field: str) -> None:
    """What cannot be sent is refused by name, and nothing is stored."""
    failure = await failure_of(send(client, **fields))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert field in str(failure.details) or field in failure.message


async def test_unknown_person(client: Stubs) -> None:
    """Who has no profile gets mail only at an address."""
    user_id = str(uuid.uuid4())
    assert (await failure_of(send(client, user_id=user_id))).reason == "PROFILE_NOT_FOUND"
    assert (await send(client, user_id=user_id, recipient_email="dan@example.org")).user_id == user_id


async def test_cancelled_is_never_sent(client: Stubs) -> None:
    """OK means that it will not be sent, also when asked twice; what is out cannot be cancelled."""
    waiting = await send(client, send_time=in_hours(1))
    request = notification_service_pb2.CancelNotificationRequest(notification_id=waiting.id)
    for _ in range(2):
        cancelled = await client.notification.CancelNotification(request, timeout=TIMEOUT)
        assert cancelled.notification.state == CANCELLED
    retry = notification_service_pb2.RetryNotificationRequest(notification_id=waiting.id)
    failure = await failure_of(client.notification.RetryNotification(retry, timeout=TIMEOUT))
    assert (failure.reason, failure.metadata["state"]) == ("NOTIFICATION_STATE_INVALID", "CANCELLED")
    nothing = notification_service_pb2.CancelNotificationRequest(notification_id=str(uuid.uuid4()))
    failure = await failure_of(client.notification.CancelNotification(nothing, timeout=TIMEOUT))
    assert failure.reason == "NOTIFICATION_NOT_FOUND"


async def test_lists_by_person_state_and_kind(client: Stubs) -> None:
    """Lists are newest first, filtered, in pages; a mail is not found under another person's id."""
    user_id = await join(client)
    mails = [await send(client, user_id=user_id, send_time=in_hours(1)) for _ in range(3)]
    await client.notification.CancelNotification(
        notification_service_pb2.CancelNotificationRequest(notification_id=mails[0].id), timeout=TIMEOUT
    )

    async def listed(**fields: Any) -> tuple[list[str], str]:
        request = notification_service_pb2.ListNotificationsRequest(user_id=user_id, **fields)
        page = await client.notification.ListNotifications(request, timeout=TIMEOUT)
        return [each.id for each in page.notifications], page.next_page_token

    newest_first = [each.id for each in reversed(mails)]
    assert (await listed())[0] == newest_first
    assert (await listed(states=[SCHEDULED]))[0] == newest_first[:2]
    assert (await listed(kinds=[notification_pb2.NOTIFICATION_KIND_SESSION_REMINDER]))[0] == []
    assert (await listed(match_id=str(uuid.uuid4())))[0] == []
    first, token = await listed(page_size=2)
    second, end = await listed(page_size=2, page_token=token)
    assert (first + second, end) == (newest_first, "")
    assert (await failure_of(listed(page_size=2, page_token=token, states=[SCHEDULED]))).reason == "PAGE_TOKEN_INVALID"
    assert (await failure_of(get(client, mails[0].id, str(uuid.uuid4())))).reason == "NOTIFICATION_NOT_FOUND"


async def test_preferences_decide(client: Stubs) -> None:
    """What a person turned off is stored as suppressed; the other kinds go on, until it is turned on again."""
    user_id = await join(client)
    kind = notification_pb2.NOTIFICATION_KIND_MATCH_DECLINE

    async def choose(enabled: bool) -> dict[int, bool]:  # noqa: FBT001
        request = notification_service_pb2.UpdatePreferencesRequest(
            user_id=user_id, kinds=[notification_pb2.KindPreference(kind=kind, enabled=enabled)]
        )
        answer = await client.notification.UpdatePreferences(request, timeout=TIMEOUT)
        return {each.kind: each.enabled for each in answer.preferences.kinds}

    request = notification_service_pb2.GetPreferencesRequest(user_id=user_id)
    before = (await client.notification.GetPreferences(request, timeout=TIMEOUT)).preferences
    assert {each.kind: each.enabled for each in before.kinds} == dict.fromkeys(range(1, 9), True)
    assert not before.HasField("update_time")
    assert not before.HasField("suppression")
    assert await choose(enabled=False) == dict.fromkeys(range(1, 9), True) | {kind: False}
    suppressed = await send(client, user_id=user_id)
    assert suppressed.state == notification_pb2.NOTIFICATION_STATE_SUPPRESSED
    assert await choose(enabled=True) == dict.fromkeys(range(1, 9), True)
    assert (await send(client, user_id=user_id, send_time=in_hours(1))).state == SCHEDULED


async def test_preferences_need_a_person(client: Stubs) -> None:
    """Nobody's preferences are not found, and a kind named twice is refused."""
    request = notification_service_pb2.GetPreferencesRequest(user_id=str(uuid.uuid4()))
    failure = await failure_of(client.notification.GetPreferences(request, timeout=TIMEOUT))
    assert failure.reason == "PROFILE_NOT_FOUND"
    twice = [notification_pb2.KindPreference(kind=1, enabled=True)] * 2  # type: ignore[arg-type]
    update = notification_service_pb2.UpdatePreferencesRequest(user_id=str(uuid.uuid4()), kinds=twice)
    failure = await failure_of(client.notification.UpdatePreferences(update, timeout=TIMEOUT))
    assert failure.reason == "FIELD_INVALID"


async def test_preview_is_the_mail(client: Stubs) -> None:
    """A preview shows subject, HTML and text, in the time zone asked for, and sends nothing."""
    reminder = notification_pb2.SessionReminder(
        partner_name="Ben", venue_name="Café <script>", scheduled_time=Timestamp(seconds=1795615200)
    )
    request = notification_service_pb2.PreviewNotificationRequest(
        session_reminder=reminder, recipient_name="Ann", time_zone="Europe/Vienna"
    )
    preview = await client.notification.PreviewNotification(request, timeout=TIMEOUT)
    assert "Ben" in preview.subject
    assert "15:00 CET" in preview.text
    assert "<script>" not in preview.html
    assert "Café <script>" in preview.text


async def test_events_are_off_without_a_secret(client: Stubs) -> None:
    """Without a secret nobody can prove to be the provider."""
    request = notification_service_pb2.RecordDeliveryEventRequest(
        svix_id="msg_1", svix_timestamp="1", svix_signature="v1,x", payload=b"{}"
    )
    failure = await failure_of(client.notification.RecordDeliveryEvent(request, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FEATURE_DISABLED")
