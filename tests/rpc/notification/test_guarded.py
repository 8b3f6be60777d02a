"""What keeps recipients and the provider from too much mail, and what the provider's events do, through the server."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from support.databases import execute, fresh_database
from support.edge import Failure, failure_of
from support.requests import TIMEOUT, join
from support.server import serving_application
from support.stubs import Stubs
from support.webhooks import SECRET, body_of, sign
from wingmanmatch.notification.v1 import notification_pb2 as messages
from wingmanmatch.notification.v1 import notification_service_pb2 as requests
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

DECLINE = messages.MatchDecline(decliner_name="Ben")
QUEUE_LIMIT = 100
FILL = """
select internal.pause_deliveries('QUOTA', '429 daily_quota_exceeded', 3600);
select internal.enqueue_notification('MATCH_DECLINE', gen_random_uuid(), '{"decliner_name": "Ben"}',
    'full/' || gen_random_uuid(), p_recipient_email => 'ann@example.org') from generate_series(1, 100);
"""


@pytest.fixture(scope="module")
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """The database of the module's server."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def client(dsn: str, engines: EmbeddedEngines, data_dir: Path, transport: str) -> AsyncIterator[Stubs]:
    """A client of a server with the limits that it comes with, which knows the provider's secret."""
    roomy = data_dir / "rate-limits.toml"
    roomy.write_text("[policies.public_api]\ncapacity = 10_000\n")  # for the tests' own questions
    given = {"mail_queue_limit": QUEUE_LIMIT, "resend_webhook_secret": SECRET, "rate_limits_file": roomy}
    async with serving_application(dsn, engines.redis_url, data_dir, transport=transport, **given) as client:
        yield client


async def send(client: Stubs, **recipient: str) -> messages.Notification:
    """Ask for a mail."""
    request = requests.SendNotificationRequest(match_decline=DECLINE, **recipient)
    return (await client.notification.SendNotification(request, timeout=TIMEOUT)).notification


async def sent(client: Stubs, **recipient: str) -> str:
    """Ask for a mail, wait until it is out, and return its id."""
    stored = await send(client, **recipient)
    await state_of(client, stored.id, messages.NOTIFICATION_STATE_SENT)
    return stored.id


async def state_of(client: Stubs, notification_id: str, state: messages.NotificationState.ValueType) -> None:
    """Wait until a mail is in a state."""
    request = requests.GetNotificationRequest(notification_id=notification_id)
    async with asyncio.timeout(TIMEOUT):
        while (await client.notification.GetNotification(request, timeout=TIMEOUT)).notification.state != state:
            await asyncio.sleep(0.05)


async def tell(client: Stubs, kind: str, notification_id: str, **data: object) -> messages.Notification:
    """Forward an event of the provider and return the mail that it is about."""
    event = sign(body_of(kind, notification_id, **data))
    request = requests.RecordDeliveryEventRequest(
        svix_id=event.event_id,
        svix_timestamp=event.timestamp,
        svix_signature=event.signature,
        payload=event.payload,
    )
    for _ in range(2):
        answer = await client.notification.RecordDeliveryEvent(request, timeout=TIMEOUT)
    return answer.notification


def seconds_to_wait(failure: Failure) -> float:
    """Return what RetryInfo says."""
    delay = failure.detail(error_details_pb2.RetryInfo).retry_delay
    return float(delay.seconds + delay.nanos / 1e9)


async def test_recipient_is_spared(client: Stubs) -> None:
    """The fourth mail to one recipient is refused with a time to come back, whichever way it is addressed."""
    person = (await join(client, email=f"{uuid.uuid4().hex}@example.org")).user_id
    local = uuid.uuid4().hex
    ways = [
        [{"user_id": person}, {"user_id": person.upper()}, {"user_id": person, "recipient_email": "x@example.org"}],
        [{"recipient_email": f"{local}@example.org"}, {"recipient_email": f"{local.upper()}@Example.org"}] * 2,
    ]
    for recipients in ways:
        for recipient in recipients[:3]:
            await send(client, **recipient)
        failure = await failure_of(send(client, **recipients[0]))
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert 0 < seconds_to_wait(failure) <= 100 * 1.1  # denials spread the returns
        assert "example.org" not in str(failure.details)


async def test_repeated_request_costs_nothing(client: Stubs) -> None:
    """Whoever did not get the answer may ask again, even when the recipient has had enough; another mail is refused."""
    person = (await join(client, email=f"{uuid.uuid4().hex}@example.org")).user_id
    for recipient in ({"user_id": person}, {"recipient_email": f"{uuid.uuid4().hex}@example.org"}):
        named = recipient | {"request_id": str(uuid.uuid4())}
        first = await send(client, **named)
        assert {(await send(client, **named)).id for _ in range(5)} == {first.id}
        await send(client, **recipient)
        await send(client, **recipient)
        assert (await send(client, **named)).id == first.id
        assert (await failure_of(send(client, **recipient))).reason == "RATE_LIMITED"
        reused = await failure_of(send(client, **named, recipient_name="Other"))
        assert reused.reason == "REQUEST_ID_REUSED"


async def test_full_queue_asks_for_patience(client: Stubs, dsn: str) -> None:
    """While nothing goes out and enough mails wait, the next one is refused with a time to come back."""
    await execute(dsn, FILL)
    failure = await failure_of(send(client, recipient_email=f"{uuid.uuid4().hex}@example.org"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "NOTIFICATION_QUEUE_FULL")
    assert seconds_to_wait(failure) == 30
    await execute(dsn, "delete from notifications where state = 'PENDING'; select resume_deliveries()")
    await sent(client, recipient_email=f"{uuid.uuid4().hex}@example.org")


async def test_failure_told_by_the_provider_can_be_tried_again(client: Stubs) -> None:
    """A mail that the provider gave up is DEAD; sent again it goes out a second time; what is out is left alone."""
    notification_id = await sent(client, recipient_email=f"{uuid.uuid4().hex}@example.org")
    assert (await tell(client, "failed", notification_id)).state == messages.NOTIFICATION_STATE_DEAD
    retry = requests.RetryNotificationRequest(notification_id=notification_id, request_id=str(uuid.uuid4()))
    for _ in range(2):
        answer = await client.notification.RetryNotification(retry, timeout=TIMEOUT)
        assert answer.notification.state == messages.NOTIFICATION_STATE_PENDING
    await state_of(client, notification_id, messages.NOTIFICATION_STATE_SENT)
    cancel = requests.CancelNotificationRequest(notification_id=notification_id)
    failure = await failure_of(client.notification.CancelNotification(cancel, timeout=TIMEOUT))
    assert (failure.reason, failure.metadata["state"]) == ("NOTIFICATION_STATE_INVALID", "SENT")


async def test_complaint_ends_all_mail(client: Stubs) -> None:
    """Who complained gets no more mail, and the preferences say why."""
    address = f"{uuid.uuid4().hex}@example.org"
    person = (await join(client, email=address)).user_id
    told = await tell(client, "complained", await sent(client, user_id=person), to=[address])
    assert told.state == messages.NOTIFICATION_STATE_COMPLAINED
    assert (await send(client, user_id=person)).state == messages.NOTIFICATION_STATE_SUPPRESSED
    request = requests.GetPreferencesRequest(user_id=person)
    preferences = (await client.notification.GetPreferences(request, timeout=TIMEOUT)).preferences
    assert preferences.suppression.cause == messages.SUPPRESSION_CAUSE_COMPLAINT


async def test_forged_event_is_refused(client: Stubs) -> None:
    """An event that somebody else signed changes nothing."""
    notification_id = await sent(client, recipient_email=f"{uuid.uuid4().hex}@example.org")
    event = sign(body_of("complained", notification_id), secret="whsec_" + "B" * 44)
    request = requests.RecordDeliveryEventRequest(
        svix_id=event.event_id,
        svix_timestamp=event.timestamp,
        svix_signature=event.signature,
        payload=event.payload,
    )
    failure = await failure_of(client.notification.RecordDeliveryEvent(request, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SIGNATURE_INVALID")
    await state_of(client, notification_id, messages.NOTIFICATION_STATE_SENT)
