"""What the mail path asks of the database. One method is one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.results import ResultType
from wingmanmatch_server.notification.rows import (
    Claim,
    ClaimedNotification,
    Clearance,
    Notification,
    NotificationPage,
    Pause,
    Preferences,
    RecordedEvent,
    SendCheck,
)
from wingmanmatch_server.paging import Position

_CLAIM = ResultType(Claim)
_MAY_SEND = ResultType(bool, "send")
_CLEARANCE = ResultType(Clearance)
_PAUSE = ResultType(Pause)
_NOTIFICATION = ResultType(Notification, "notification")
_NOTIFICATIONS = ResultType(NotificationPage)
_RECORDED = ResultType(RecordedEvent)
_PREFERENCES = ResultType(Preferences, "preferences")
_STATE = ResultType(str)
_COUNT = ResultType(int)
_FLAG = ResultType(bool)
_CHECK = ResultType(SendCheck)


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """What the provider tells of a mail. `state` and `suppression` are None where it changes nothing.

    The mail is named by our own id or by the provider's; `address` is to be suppressed where `suppression` says why.
    """

    event_id: str
    type: str
    state: str | None = None
    suppression: str | None = None
    event_time: str | None = None
    notification_id: str | None = None
    provider_message_id: str | None = None
    address: str | None = None


class NotificationStore:
    """Mails in the database.

    Every method raises errors.Unavailable if it does not answer, and ResultInvalid if what it returns is not what
    `rows.py` declares.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, owner: str, limit: int, lease_seconds: float) -> Claim:
        """Lease at most `limit` due mails to `owner`; no two owners ever hold one mail under the same epoch.

        Mails whose owner let the lease lapse come first. Those past their expire_time become EXPIRED instead; those
        that may have gone out too long ago to be repeated safely become REVIEW. Those whose address got as many as it
        may are held for a digest; those of them that may be out already wait. While deliveries are paused, by whatever
        replica, none is leased.
        """
        return await _CLAIM.call(
            self._database,
            "claim_notifications",
            p_owner=owner,
            p_limit=limit,
            p_lease_seconds=lease_seconds,
            p_digests=True,
        )

    async def begin_delivery(
        self, claimed: ClaimedNotification, rendered: Mapping[str, Any], lease_seconds: float
    ) -> Clearance | None:
        """Commit the content of the first attempt for good, renew the lease and count the attempt.

        None if the mail must not go out: the lease is lost, or the mail expired, was cancelled or has become untrue, or
        deliveries are paused and it waits again.
        """
        function = "store_rendered_notification"
        result = await self._database.call(
            function,
            p_id=claimed.id,
            p_epoch=claimed.epoch,
            p_rendered=rendered,
            p_lease_seconds=lease_seconds,
        )
        return _CLEARANCE.read(function, result) if _MAY_SEND.read(function, result) else None

    async def finish(
        self,
        claimed: ClaimedNotification,
        outcome: str,
        *,
        provider_message_id: str | None = None,
        error: str | None = None,
        retry_seconds: float = 60.0,
        pause_seconds: float | None = None,
    ) -> str | None:
        """Record what became of an attempt, end the lease and return the state reached.

        ACCEPTED → SENT, BAD_MESSAGE → DEAD, KEY_MISMATCH → REVIEW; all others → PENDING again in `retry_seconds`. But
        23 hours after the first attempt a mail that may be out, because an attempt was AMBIGUOUS or IN_FLIGHT, →
        REVIEW, and one that is NOT_ACCEPTED → DEAD. THROTTLED, QUOTA, CONFIG, IN_FLIGHT and WITHHELD cost no attempt;
        after CONFIG a mail that surely is not out is rendered anew.

        `pause_seconds` stops all replicas for so long, in the same transaction and even where the lease is lost: then
        the row stays as it is and the answer is None. `error` is a class name or code, never text from outside.
        """
        function = "finish_notification"
        state = await self._database.call(
            function,
            p_id=claimed.id,
            p_epoch=claimed.epoch,
            p_outcome=outcome,
            p_provider_message_id=provider_message_id,
            p_error=error,
            p_retry_seconds=retry_seconds,
            p_pause_seconds=pause_seconds,
        )
        return None if state is None else _STATE.read(function, state)

    async def resume(self) -> bool:
        """End a pause for CONFIG or QUOTA, whose cause may be mended; return whether there was one."""
        return await _FLAG.call(self._database, "resume_deliveries")

    async def get_pause(self) -> Pause | None:
        """Return the pause that stands, None where deliveries go on."""
        pause = await self._database.call("get_delivery_pause")
        return None if pause is None else _PAUSE.read("get_delivery_pause", pause)

    async def release(self, owner: str) -> int:
        """Give back all that `owner` holds, so that others can take it at once; return how many."""
        return await _COUNT.call(self._database, "release_notifications", p_owner=owner)

    async def send(
        self, kind: str, payload: Mapping[str, Any], *, request_id: str | None = None, **parameters: Any
    ) -> Notification:
        """Store a mail and return it; what the recipient does not want is stored as SUPPRESSED.

        `parameters` are those of `send_notification`: user_id or recipient_email, recipient_name, locale, time_zone,
        send_time, expire_time, queue_limit. Raises NotFound PROFILE_NOT_FOUND, ResourceExhausted
        NOTIFICATION_QUEUE_FULL, InvalidArgument REQUEST_ID_REUSED.
        """
        named = {f"p_{name}": value for name, value in parameters.items()}
        return await _NOTIFICATION.call(
            self._database, "send_notification", p_kind=kind, p_payload=payload, p_request_id=request_id, **named
        )

    async def check_send(
        self, user_id: str | None, recipient_email: str | None, queue_limit: int, request_id: str | None
    ) -> SendCheck:
        """Return where `send` would send to, and whether it has answered this request before and would store nothing.

        Raises as `send` would now, but for InvalidArgument; nothing if it was answered.
        """
        return await _CHECK.call(
            self._database,
            "check_send",
            p_user_id=user_id,
            p_recipient_email=recipient_email,
            p_queue_limit=queue_limit,
            p_request_id=request_id,
        )

    async def cancel(self, notification_id: str, request_id: str | None = None) -> Notification:
        """Call a mail off and return it: it will not be sent.

        Raises NotFound NOTIFICATION_NOT_FOUND, and FailedPrecondition: NOTIFICATION_IN_FLIGHT where nobody can tell,
        NOTIFICATION_STATE_INVALID where it is out or was given up.
        """
        return await _NOTIFICATION.call(
            self._database, "cancel_notification", p_notification_id=notification_id, p_request_id=request_id
        )

    async def retry(self, notification_id: str, request_id: str | None = None) -> Notification:
        """Send a mail in DEAD or REVIEW again, rendered anew, and return it.

        Raises NotFound NOTIFICATION_NOT_FOUND, FailedPrecondition NOTIFICATION_STATE_INVALID.
        """
        return await _NOTIFICATION.call(
            self._database, "retry_notification", p_notification_id=notification_id, p_request_id=request_id
        )

    async def get_notification(self, notification_id: str, user_id: str | None = None) -> Notification:
        """Return one mail, without address and content; with `user_id`, only one to that person.

        Raises NotFound NOTIFICATION_NOT_FOUND.
        """
        return await _NOTIFICATION.call(
            self._database,
            "get_notification",
            p_notification_id=notification_id,
            p_user_id=user_id,
            p_digests=True,
        )

    async def list_notifications(
        self,
        user_id: str | None,
        page_size: int,
        after: Position | None = None,
        *,
        states: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        match_id: str | None = None,
    ) -> NotificationPage:
        """Return a person's emails or everyone's, newest first, behind the position `after`."""
        return await _NOTIFICATIONS.call(
            self._database,
            "list_notifications",
            p_user_id=user_id,
            p_states=states,
            p_kinds=kinds,
            p_match_id=match_id,
            p_page_size=page_size,
            p_position=after,
            p_digests=True,
        )

    async def record_event(self, event: DeliveryEvent) -> Notification | None:
        """Take in what the provider tells, once, and return the mail it is about, None if it is none of ours.

        Events may come more than once and in any order: the mail's state is the highest that any of them says.
        """
        named = {f"p_{name}": value for name, value in asdict(event).items()}
        recorded = await _RECORDED.call(self._database, "record_delivery_event", p_digests=True, **named)
        return recorded.notification

    async def get_preferences(self, user_id: str) -> Preferences:
        """Return a person's preferences. Raises NotFound PROFILE_NOT_FOUND."""
        return await _PREFERENCES.call(self._database, "get_notification_preferences", p_user_id=user_id)

    async def update_preferences(
        self, user_id: str, kinds: Sequence[Mapping[str, Any]], request_id: str | None = None
    ) -> Preferences:
        """Turn kinds, each {kind, enabled}, on or off and return all preferences. Raises NotFound PROFILE_NOT_FOUND."""
        return await _PREFERENCES.call(
            self._database,
            "update_notification_preferences",
            p_user_id=user_id,
            p_kinds=kinds,
            p_request_id=request_id,
        )

    async def unsubscribe(self, user_id: str, kind: str) -> None:
        """Turn one kind off, whether or not the person has a profile. Repeating it changes nothing."""
        await self._database.call("unsubscribe", p_user_id=user_id, p_kind=kind)

    async def purge_events(self) -> None:
        """Forget provider's events of more than 30 days ago, some at a time."""
        await self._database.call("purge_delivery_events")

    async def purge_charges(self) -> None:
        """Forget, some at a time, what was charged to addresses more than a day ago, and counts no more."""
        await self._database.call("purge_address_charges")
