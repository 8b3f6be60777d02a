"""What the store returns. Fields are named as in the API; enum values are names without their prefix."""

from dataclasses import dataclass
from typing import Any

from wingmanmatch_server.drivers.results import Moment


@dataclass(frozen=True, slots=True)
class Notification:
    """A mail as callers may see it, without address and content.

    `exact_state` is HELD or DIGESTED where `state`, kept for servers that know neither, is PENDING or CANCELLED; it is
    empty in an answer that such a server remembered.
    """

    id: str
    kind: str
    state: str
    user_id: str | None
    match_id: str | None
    send_time: Moment
    expire_time: Moment | None
    create_time: Moment
    sent_time: Moment | None
    attempt_count: int
    provider_message_id: str | None
    last_error: str | None
    exact_state: str = ""
    digest_id: str | None = None


@dataclass(frozen=True, slots=True)
class NotificationPage:
    """Emails, newest first. `next_position` is the `after` of the next page, None at the end of the list."""

    notifications: tuple[Notification, ...]
    next_position: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class SendCheck:
    """Whether a request to send was answered before, and the digest of the address that it sends to."""

    answered: bool
    address_hash: str


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """The mail that a provider's event is about, None if it is none of ours."""

    notification: Notification | None


@dataclass(frozen=True, slots=True)
class KindPreference:
    """Whether a person wants mails of a kind."""

    kind: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why and since when nothing is sent to a person's address."""

    cause: str
    create_time: Moment


@dataclass(frozen=True, slots=True)
class Preferences:
    """Which mails a person wants, one preference for each kind but DIGEST, which has `digest_enabled`.

    `update_time` is None until the person chose.
    """

    user_id: str
    kinds: tuple[KindPreference, ...]
    suppression: Suppression | None
    update_time: Moment | None
    digest_enabled: bool = True


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
    payload: dict[str, Any]
    match_id: str | None
    send_time: Moment
    create_time: Moment
    rendered: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim got, and in how many seconds the next mail is due; None where none waits.

    While deliveries are `paused` there is nothing to get, and the next mail is due when the pause ends. `held_kinds`
    has the kind of each mail that this claim found due and held, because its address got as many as it may.
    """

    notifications: tuple[ClaimedNotification, ...]
    next_due_seconds: float | None
    paused: bool
    held_kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clearance:
    """The permission to deliver: exactly `rendered`, under `idempotency_key`, as the `attempt_count`th attempt."""

    rendered: dict[str, Any]
    idempotency_key: str
    attempt_count: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is sent, and until when: THROTTLED, QUOTA or CONFIG, the provider's own name for it, the end."""

    reason: str
    error: str | None
    until_time: Moment
