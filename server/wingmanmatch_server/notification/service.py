"""NotificationService: translates between the wire and the store."""

from collections.abc import Collection, Sequence
from datetime import UTC
from typing import Any, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from wingmanmatch.notification.v1 import notification_pb2, notification_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.notification.render import Recipient, Renderer
from wingmanmatch_server.notification.rows import KindPreference, Notification, Preferences, Suppression
from wingmanmatch_server.notification.store import NotificationStore
from wingmanmatch_server.notification.webhook import Webhooks
from wingmanmatch_server.paging import PageTokens
from wingmanmatch_server.texts.email_addresses import normal_email_address
from wingmanmatch_server.wire import short_names, timestamp

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
POLICY = "email_send"
HASH_LENGTH = 32  # hexadecimal digits of an address's digest in the name of its bucket
SAMPLE_ID = "00000000-0000-4000-8000-000000000000"
KIND, STATE = "NOTIFICATION_KIND_", "NOTIFICATION_STATE_"
KINDS = short_names(notification_pb2.NotificationKind.items(), KIND)
STATES = short_names(notification_pb2.NotificationState.items(), STATE)
CAUSES = short_names(notification_pb2.SuppressionCause.items(), "SUPPRESSION_CAUSE_")


class Limiter(Protocol):
    """Keeps the buckets."""

    async def spend_all(self, policy: str, subjects: Sequence[str], caller: str) -> None:
        """Take one token of each subject's, or of none. Raises errors.RateLimited."""


class NotificationService:
    """Each method is the RPC of its name; `notification_service.proto` has the contract."""

    def __init__(
        self,
        store: NotificationStore,
        renderer: Renderer,
        time_zones: Collection[str],
        pages: PageTokens,
        *,
        limiter: Limiter | None,
        webhooks: Webhooks | None,
        queue_limit: int,
    ) -> None:
        """Without a limiter recipients are not limited; without webhooks events are refused.

        `queue_limit` is how many mails may be due and wait before more are refused.
        """
        self._store = store
        self._renderer = renderer
        self._time_zones = time_zones
        self._pages = pages
        self._limiter = limiter
        self._webhooks = webhooks
        self._queue_limit = queue_limit

    async def send_notification(
        self, request: notification_service_pb2.SendNotificationRequest, call: Call
    ) -> notification_service_pb2.SendNotificationResponse:
        """Store a mail for sending, at the recipient's expense."""
        self._check_time_zone(request.time_zone)
        kind, payload = _content(request)
        await self._charge(request, call.caller.name)
        stored = await self._store.send(
            kind,
            payload,
            user_id=request.user_id or None,
            recipient_email=_email(request),
            recipient_name=request.recipient_name or None,
            locale=request.locale or None,
            time_zone=request.time_zone or None,
            send_time=_iso(request.send_time) if request.HasField("send_time") else None,
            # A reminder of what is over helps nobody.
            expire_time=payload["scheduled_time"] if kind == "SESSION_REMINDER" else None,
            queue_limit=self._queue_limit,
            request_id=request.request_id or None,
        )
        return notification_service_pb2.SendNotificationResponse(notification=_notification(stored))

    async def preview_notification(
        self, request: notification_service_pb2.PreviewNotificationRequest, _call: Call
    ) -> notification_service_pb2.PreviewNotificationResponse:
        """Render a mail and send nothing."""
        self._check_time_zone(request.time_zone)
        kind, payload = _content(request)
        recipient = Recipient(None, request.recipient_name, request.locale or "en")
        payload["time_zone"] = request.time_zone or "UTC"
        mail = self._renderer.render(SAMPLE_ID, kind, recipient, payload, None)
        return notification_service_pb2.PreviewNotificationResponse(
            subject=mail.subject, html=mail.html, text=mail.text
        )

    async def get_notification(
        self, request: notification_service_pb2.GetNotificationRequest, _call: Call
    ) -> notification_service_pb2.GetNotificationResponse:
        """Return a mail."""
        found = await self._store.get_notification(request.notification_id, request.user_id or None)
        return notification_service_pb2.GetNotificationResponse(notification=_notification(found))

    async def list_notifications(
        self, request: notification_service_pb2.ListNotificationsRequest, _call: Call
    ) -> notification_service_pb2.ListNotificationsResponse:
        """List mails."""
        states = sorted(notification_pb2.NotificationState.Name(each)[len(STATE) :] for each in request.states)
        kinds = sorted(_kind_name(each) for each in request.kinds)
        asked = ("ListNotifications", request.user_id.lower(), states, kinds, request.match_id.lower())
        page = await self._store.list_notifications(
            request.user_id or None,
            min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE),
            self._pages.open(request.page_token, *asked),
            states=states or None,
            kinds=kinds or None,
            match_id=request.match_id or None,
        )
        return notification_service_pb2.ListNotificationsResponse(
            notifications=[_notification(each) for each in page.notifications],
            next_page_token=self._pages.seal(page.next_position, *asked),
        )

    async def cancel_notification(
        self, request: notification_service_pb2.CancelNotificationRequest, _call: Call
    ) -> notification_service_pb2.CancelNotificationResponse:
        """Call a mail off."""
        cancelled = await self._store.cancel(request.notification_id, request.request_id or None)
        return notification_service_pb2.CancelNotificationResponse(notification=_notification(cancelled))

    async def retry_notification(
        self, request: notification_service_pb2.RetryNotificationRequest, _call: Call
    ) -> notification_service_pb2.RetryNotificationResponse:
        """Send a mail that was given up again."""
        retried = await self._store.retry(request.notification_id, request.request_id or None)
        return notification_service_pb2.RetryNotificationResponse(notification=_notification(retried))

    async def get_preferences(
        self, request: notification_service_pb2.GetPreferencesRequest, _call: Call
    ) -> notification_service_pb2.GetPreferencesResponse:
        """Return which mails a person wants."""
        found = await self._store.get_preferences(request.user_id)
        return notification_service_pb2.GetPreferencesResponse(preferences=_preferences(found))

    async def update_preferences(
        self, request: notification_service_pb2.UpdatePreferencesRequest, _call: Call
    ) -> notification_service_pb2.UpdatePreferencesResponse:
        """Change which mails a person wants."""
        kinds = [{"kind": _kind_name(each.kind), "enabled": each.enabled} for each in request.kinds]
        changed = await self._store.update_preferences(request.user_id, kinds, request.request_id or None)
        return notification_service_pb2.UpdatePreferencesResponse(preferences=_preferences(changed))

    async def record_delivery_event(
        self, request: notification_service_pb2.RecordDeliveryEventRequest, _call: Call
    ) -> notification_service_pb2.RecordDeliveryEventResponse:
        """Take in what the provider tells of a mail."""
        if self._webhooks is None:
            message = "RESEND_WEBHOOK_SECRET is not set"
            raise errors.FailedPrecondition("FEATURE_DISABLED", message, {"feature": "delivery_events"})
        event = self._webhooks.read(request.svix_id, request.svix_timestamp, request.svix_signature, request.payload)
        told = await self._store.record_event(event)
        return notification_service_pb2.RecordDeliveryEventResponse(notification=_notification(told) if told else None)

    async def _charge(self, request: notification_service_pb2.SendNotificationRequest, caller: str) -> None:
        """Take a token of the person's and one of the address's, unless the request was answered before.

        Raises errors.RateLimited, and what refuses the email anyway: then nothing is taken.
        """
        if self._limiter is None:
            return
        check = await self._store.check_send(
            request.user_id or None, _email(request), self._queue_limit, request.request_id or None
        )
        if not check.answered:
            person = [request.user_id.lower()] if request.user_id else []
            address = f"email:{check.address_hash[:HASH_LENGTH]}"
            await self._limiter.spend_all(POLICY, [*person, address], caller)

    def _check_time_zone(self, name: str) -> None:
        if name and name not in self._time_zones:
            violation = errors.FieldViolation("time_zone", "time_zone.unknown", "must be the name of an IANA time zone")
            raise errors.InvalidArgument([violation])


def _email(request: notification_service_pb2.SendNotificationRequest) -> str | None:
    return normal_email_address(request.recipient_email) if request.recipient_email else None


def _content(request: Any) -> tuple[str, dict[str, Any]]:
    """Return the kind of mail that a request names, and its payload: texts, and times in ISO 8601."""
    name = request.WhichOneof("content")
    payload = {
        field.name: _iso(value) if isinstance(value, Timestamp) else value
        for field, value in getattr(request, name).ListFields()
    }
    return name.upper(), payload


def _iso(moment: Timestamp) -> str:
    return moment.ToDatetime(UTC).isoformat()


def _notification(stored: Notification) -> notification_pb2.Notification:
    return notification_pb2.Notification(
        id=stored.id,
        kind=KINDS[stored.kind],
        state=STATES[stored.exact_state or stored.state],
        user_id=stored.user_id or "",
        match_id=stored.match_id or "",
        send_time=timestamp(stored.send_time),
        expire_time=timestamp(stored.expire_time),
        create_time=timestamp(stored.create_time),
        sent_time=timestamp(stored.sent_time),
        attempt_count=stored.attempt_count,
        provider_message_id=stored.provider_message_id or "",
        last_error=stored.last_error or "",
        digest_id=stored.digest_id or "",
    )


def _preferences(stored: Preferences) -> notification_pb2.NotificationPreferences:
    return notification_pb2.NotificationPreferences(
        user_id=stored.user_id,
        kinds=[
            notification_pb2.KindPreference(kind=KINDS[each.kind], enabled=each.enabled)
            for each in (*stored.kinds, KindPreference("DIGEST", stored.digest_enabled))
        ],
        suppression=_suppression(stored.suppression) if stored.suppression else None,
        update_time=timestamp(stored.update_time),
    )


def _suppression(stored: Suppression) -> notification_pb2.Suppression:
    return notification_pb2.Suppression(
        cause=CAUSES[stored.cause],
        create_time=timestamp(stored.create_time),
    )


def _kind_name(kind: notification_pb2.NotificationKind.ValueType) -> str:
    return notification_pb2.NotificationKind.Name(kind)[len(KIND) :]
