"""What Resend tells of mails that are out: signed by Svix, at least once, in any order."""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import orjson
from standardwebhooks import Webhook, WebhookVerificationError

from wingmanmatch_server import errors
from wingmanmatch_server.notification.store import DeliveryEvent

ADDRESS = re.compile(r"<?([^<>\s]+@[^<>\s]+)>?\s*$")
MAX_TYPE = 64
FIRST_YEAR, LAST_YEAR = 2000, 9998  # of an event: others have no time in every zone, or are no time of any event
T = TypeVar("T", str, str | None)

STATES = {
    "email.sent": "SENT",
    "email.delivery_delayed": "DELAYED",
    "email.delivered": "DELIVERED",
    "email.bounced": "BOUNCED",
    "email.complained": "COMPLAINED",
    "email.failed": "DEAD",
    "email.suppressed": "SUPPRESSED",
}


class Webhooks:
    """Checks and reads events. Two secrets are one and its successor."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Raises ValueError for a secret that is not one of Svix's: `whsec_` and base64."""
        self._verifiers = [Webhook(secret) for secret in secrets]

    def read(self, event_id: str, timestamp: str, signature: str, payload: bytes) -> DeliveryEvent:
        """Return the event. Raises errors.InvalidArgument, SIGNATURE_INVALID, unless it was signed within 5 minutes."""
        headers = {"webhook-id": event_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
        if not any(_is_signed(verifier, headers, payload) for verifier in self._verifiers):
            raise signature_invalid()
        return read_event(event_id, payload)


def signature_invalid() -> errors.InvalidArgument:
    """Return the one error of every event that does not prove where it comes from."""
    return errors.InvalidArgument((), "SIGNATURE_INVALID", "the signature is not one of the provider's for this body")


def read_event(event_id: str, payload: bytes) -> DeliveryEvent:
    """Return what a signed body says. What it does not say, or says in a way unknown to us, is left out.

    Raises errors.InvalidArgument for a text that cannot be stored, and for a time before 2000 or after 9998.
    """
    body = _object(_json(payload))
    data = _object(body.get("data"))
    kind = str(body.get("type", ""))[:MAX_TYPE]
    return DeliveryEvent(
        event_id=event_id,
        type=_storable("type", kind),
        state=STATES.get(kind),
        suppression=_suppression(kind, data),
        event_time=_time(body.get("created_at")),
        notification_id=_uuid(_tags(data).get("notification_id")),
        provider_message_id=_storable("data.email_id", _text(data.get("email_id"))),
        address=_storable("data.to", _address(data.get("to"))),
    )


def _is_signed(verifier: Webhook, headers: dict[str, str], payload: bytes) -> bool:
    try:
        verifier.verify(payload, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # the latter where the signature or the body is no text at all
        return False
    return True


def _suppression(kind: str, data: Mapping[str, Any]) -> str | None:
    if kind == "email.bounced":
        # A server that is full or busy today takes mail tomorrow.
        return "BOUNCE" if _object(data.get("bounce")).get("type") == "Permanent" else None
    return {"email.complained": "COMPLAINT", "email.suppressed": "PROVIDER"}.get(kind)


def _tags(data: Mapping[str, Any]) -> Mapping[str, Any]:
    tags = data.get("tags")
    if isinstance(tags, list):  # as they are sent, where they are documented to come back as an object
        return {str(_object(tag).get("name")): _object(tag).get("value") for tag in tags}
    return _object(tags)


def _address(to: Any) -> str | None:
    first = to[0] if isinstance(to, list) and to else to
    found = ADDRESS.search(first) if isinstance(first, str) else None
    return found[1] if found else None


def _json(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None


def _time(value: Any) -> str | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise _invalid("created_at", "timestamp.range", f"must be in a year from {FIRST_YEAR} to {LAST_YEAR}")
    return moment.isoformat() if moment.tzinfo else None


def _storable(field: str, text: T) -> T:
    if text is not None and "\0" in text:
        raise _invalid(field, "string.nul", "must not contain NUL")
    return text


def _invalid(field: str, rule: str, description: str) -> errors.InvalidArgument:
    return errors.InvalidArgument([errors.FieldViolation(field, rule, description)])


def _uuid(value: Any) -> str | None:
    try:
        return str(uuid.UUID(value))
    except (AttributeError, TypeError, ValueError):
        return None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
