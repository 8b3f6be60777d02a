"""What the mail path asks of the database. One method is one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from wingmanmatch_server.drivers.database import Database


@dataclass(frozen=True, slots=True)
class ClaimedNotification:
    """A due mail on lease to one owner.

    `epoch` proves the lease. `rendered` is the content that an earlier attempt committed, None before the first.
    """

    id: str
    epoch: int
    kind: str
    user_id: str | None
    recipient_email: str
    recipient_name: str
    locale: str
    payload: Mapping[str, Any]
    match_id: str | None
    send_time: datetime
    create_time: datetime
    rendered: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim got, and in how many seconds the next mail is due; None where none waits.

    While deliveries are `paused` there is nothing to get, and the next mail is due when the pause ends.
    """

    notifications: tuple[ClaimedNotification, ...]
    next_due_seconds: float | None
    paused: bool


@dataclass(frozen=True, slots=True)
class Clearance:
    """The permission to deliver: exactly `rendered`, under `idempotency_key`, as the `attempt_count`th attempt."""

    rendered: Mapping[str, Any]
    idempotency_key: str
    attempt_count: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is sent, and until when: THROTTLED, QUOTA or CONFIG, the provider's own name for it, ISO 8601."""

    reason: str
    error: str | None
    until_time: str


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
    """Mails in the database. Every method raises errors.Unavailable if it does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, owner: str, limit: int, lease_seconds: float) -> Claim:
        """Lease at most `limit` due mails to `owner`; no two owners ever hold one mail under the same epoch.

        Mails whose owner let the lease lapse come first. Those past their expire_time become EXPIRED instead; those
        that may have gone out too long ago to be repeated safely become REVIEW. While deliveries are paused, by
        whatever replica, none is leased.
        """
        answer = await self._database.call(
            "claim_notifications", p_owner=owner, p_limit=limit, p_lease_seconds=lease_seconds
        )
        return Claim(tuple(map(_claimed, answer["notifications"])), answer["next_due_seconds"], answer["paused"])

    async def begin_delivery(
        self, claimed: ClaimedNotification, rendered: Mapping[str, Any], lease_seconds: float
    ) -> Clearance | None:
        """Commit the content of the first attempt for good, renew the lease and count the attempt.

        None if the mail must not go out: the lease is lost, or the mail expired, was cancelled or has become untrue, or
        deliveries are paused and it waits again.
        """
        answer = await self._database.call(
            "store_rendered_notification",
            p_id=claimed.id,
            p_epoch=claimed.epoch,
            p_rendered=rendered,
            p_lease_seconds=lease_seconds,
        )
        if not answer["send"]:
            return None
        return Clearance(answer["rendered"], answer["idempotency_key"], answer["attempt_count"])

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
        state: str | None = await self._database.call(
            "finish_notification",
            p_id=claimed.id,
            p_epoch=claimed.epoch,
            p_outcome=outcome,
            p_provider_message_id=provider_message_id,
            p_error=error,
            p_retry_seconds=retry_seconds,
            p_pause_seconds=pause_seconds,
        )
        return state

    async def resume(self) -> bool:
        """End a pause for CONFIG or QUOTA, whose cause may be mended; return whether there was one."""
        resumed: bool = await self._database.call("resume_deliveries")
        return resumed

    async def get_pause(self) -> Pause | None:
        """Return the pause that stands, None where deliveries go on."""
        answer = await self._database.call("get_delivery_pause")
        return Pause(answer["reason"], answer["error"], answer["until_time"]) if answer else None

    async def release(self, owner: str) -> int:
        """Give back all that `owner` holds, so that others can take it at once; return how many."""
        released: int = await self._database.call("release_notifications", p_owner=owner)
        return released

    async def send(
        self, kind: str, payload: Mapping[str, Any], *, request_id: str | None = None, **parameters: Any
    ) -> Mapping[str, Any]:
        """Store a mail and return it; what the recipient does not want is stored as SUPPRESSED.

        `parameters` are those of `send_notification`: user_id or recipient_email, recipient_name, locale, time_zone,
        send_time, expire_time, queue_limit. Raises NotFound PROFILE_NOT_FOUND, ResourceExhausted
        NOTIFICATION_QUEUE_FULL, InvalidArgument REQUEST_ID_REUSED.
        """
        named = {f"p_{name}": value for name, value in parameters.items()}
        answer = await self._database.call(
            "send_notification", p_kind=kind, p_payload=payload, p_request_id=request_id, **named
        )
        return _notification(answer)

    async def is_answered(self, user_id: str | None, request_id: str) -> bool:
        """Return whether `send` has answered this request before, so that it will store nothing."""
        answered: bool = await self._database.call("get_send_answered", p_user_id=user_id, p_request=request_id)
        return answered

    async def cancel(self, notification_id: str, request_id: str | None = None) -> Mapping[str, Any]:
        """Call a mail off and return it: it will not be sent.

        Raises NotFound NOTIFICATION_NOT_FOUND, and FailedPrecondition: NOTIFICATION_IN_FLIGHT where nobody can tell,
        NOTIFICATION_STATE_INVALID where it is out or was given up.
        """
        return _notification(
            await self._database.call("cancel_notification", p_notification_id=notification_id, p_request_id=request_id)
        )

    async def retry(self, notification_id: str, request_id: str | None = None) -> Mapping[str, Any]:
        """Send a mail in DEAD or REVIEW again, rendered anew, and return it.

        Raises NotFound NOTIFICATION_NOT_FOUND, FailedPrecondition NOTIFICATION_STATE_INVALID.
        """
        return _notification(
            await self._database.call("retry_notification", p_notification_id=notification_id, p_request_id=request_id)
        )

    async def get_notification(self, notification_id: str, user_id: str | None = None) -> Mapping[str, Any]:
        """Return one mail, without address and content; with `user_id`, only one to that person.

        Raises NotFound NOTIFICATION_NOT_FOUND.
        """
        return _notification(
            await self._database.call("get_notification", p_notification_id=notification_id, p_user_id=user_id)
        )

    async def list_notifications(
        self,
        user_id: str | None,
        page_size: int,
        after: str | None = None,
        *,
        states: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        match_id: str | None = None,
    ) -> Mapping[str, Any]:
        """Return {notifications, next_after}: a person's mails or everyone's, newest first, those following `after`.

        Raises InvalidArgument PAGE_TOKEN_INVALID if `after` is not one of them.
        """
        page: Mapping[str, Any] = await self._database.call(
            "list_notifications",
            p_user_id=user_id,
            p_states=states,
            p_kinds=kinds,
            p_match_id=match_id,
            p_page_size=page_size,
            p_after=after,
        )
        return page

    async def record_event(self, event: DeliveryEvent) -> Mapping[str, Any] | None:
        """Take in what the provider tells, once, and return the mail it is about, None if it is none of ours.

        Events may come more than once and in any order: the mail's state is the highest that any of them says.
        """
        named = {f"p_{name}": value for name, value in asdict(event).items()}
        answer = await self._database.call("record_delivery_event", **named)
        notification: Mapping[str, Any] | None = answer["notification"]
        return notification

    async def get_preferences(self, user_id: str) -> Mapping[str, Any]:
        """Return a person's preferences, one for each kind. Raises NotFound PROFILE_NOT_FOUND."""
        return _preferences(await self._database.call("get_notification_preferences", p_user_id=user_id))

    async def update_preferences(
        self, user_id: str, kinds: Sequence[Mapping[str, Any]], request_id: str | None = None
    ) -> Mapping[str, Any]:
        """Turn kinds, each {kind, enabled}, on or off and return all preferences. Raises NotFound PROFILE_NOT_FOUND."""
        return _preferences(
            await self._database.call(
                "update_notification_preferences", p_user_id=user_id, p_kinds=kinds, p_request_id=request_id
            )
        )

    async def unsubscribe(self, user_id: str, kind: str) -> None:
        """Turn one kind off, whether or not the person has a profile. Repeating it changes nothing."""
        await self._database.call("unsubscribe", p_user_id=user_id, p_kind=kind)

    async def purge_events(self) -> None:
        """Forget provider's events of more than 30 days ago, some at a time."""
        await self._database.call("purge_delivery_events")


def _notification(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    notification: Mapping[str, Any] = answer["notification"]
    return notification


def _preferences(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    preferences: Mapping[str, Any] = answer["preferences"]
    return preferences


def _claimed(row: Mapping[str, Any]) -> ClaimedNotification:
    times = {name: datetime.fromisoformat(row[name]) for name in ("send_time", "create_time")}
    return ClaimedNotification(**{**row, **times})
