"""Events as Resend sends them, signed as Svix signs them."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

SECRET = "whsec_" + base64.b64encode(b"a secret only for tests, 32 bytes").decode()


@dataclass(frozen=True)
class SignedEvent:
    """A request that Resend would make."""

    event_id: str
    timestamp: str
    signature: str
    payload: bytes

    @property
    def headers(self) -> dict[str, str]:
        """What it carries by HTTP."""
        return {
            "svix-id": self.event_id,
            "svix-timestamp": self.timestamp,
            "svix-signature": self.signature,
            "content-type": "application/json",
        }


def body_of(kind: str, notification_id: str | None = None, **data: Any) -> bytes:
    """Return what an event says; `data` are fields of its mail."""
    tags = {"notification_id": notification_id} if notification_id else {}
    mail = {"email_id": str(uuid.uuid4()), "to": ["ann@example.org"], "tags": tags} | data
    return json.dumps({"type": f"email.{kind}", "created_at": "2026-11-24T12:00:00.000Z", "data": mail}).encode()


def sign(payload: bytes, *, secret: str = SECRET, event_id: str | None = None, age: float = 0.0) -> SignedEvent:
    """Return a body signed `age` seconds ago."""
    event_id, timestamp = event_id or f"msg_{uuid.uuid4().hex}", str(int(time.time() - age))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + payload, hashlib.sha256)
    return SignedEvent(event_id, timestamp, f"v1,{base64.b64encode(mac).decode()}", payload)
