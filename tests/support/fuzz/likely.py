"""Requests as a client might send them: every field by its name, else by its type."""

import random
import time
import uuid
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from support.fuzz.pools import Pools
from support.fuzz.values import text
from support.webhooks import body_of, sign

HOUR = 3600
CENTRE = (48.2, 16.37)
WORDS = ("Sam", "Ada", "Likes parks", "Café Central", "See you at ten.", "Zoë", "李雷")
EVENTS = ("sent", "delivered", "delivery_delayed", "bounced", "complained", "opened", "failed", "renamed")
OFTEN, SELDOM = 0.7, 0.15
SELDOM_GIVEN = frozenset({"page_token", "resume_token", "active", "states", "kinds", "difficulty", "conversation_id"})


def likely(kind: Descriptor, pools: Pools, random_: random.Random) -> Message:
    """Return a request that breaks few rules, if any; what it names is taken from `pools` where they have it."""
    message: Any = GetMessageClass(kind)()
    chosen = {oneof.name: random_.choice(oneof.fields).name for oneof in kind.oneofs if len(oneof.fields) > 1}
    for field in kind.fields:
        oneof = field.containing_oneof
        if oneof is not None and chosen.get(oneof.name, field.name) != field.name:
            continue
        if random_.random() < (SELDOM if field.name in SELDOM_GIVEN else OFTEN if _may_lack(field) else 0.98):
            _give(message, field, pools, random_)
    _name_an_owner(message, pools, random_)
    if kind.name == "RecordDeliveryEventRequest":
        _sign(message, pools, random_)
    filled: Message = message
    return filled


def _name_an_owner(message: Any, pools: Pools, random_: random.Random) -> None:
    """Make the acting user mostly one who has a part in what the request names."""
    if "user_id" not in message.DESCRIPTOR.fields_by_name or random_.random() < SELDOM:
        return
    named = [value for field, value in message.ListFields() if field.name.endswith("_id") and field.name != "user_id"]
    if owners := [owner for value in named for owner in pools.owners(value)]:
        message.user_id = random_.choice(owners)


def _sign(message: Any, pools: Pools, random_: random.Random) -> None:
    """Make the event one that the provider signed, whatever it says."""
    body = body_of(random_.choice(EVENTS), pools.choose("notification_id", random_))
    data = bytearray(body)
    if random_.random() < OFTEN:
        place = random_.randrange(len(data))
        data[place : place + random_.randrange(30)] = text(random_).encode()
    event = sign(bytes(data), event_id=f"msg_{random_.getrandbits(64)}")
    message.svix_id, message.svix_timestamp = event.event_id, event.timestamp
    message.svix_signature, message.payload = event.signature, event.payload


def _may_lack(field: FieldDescriptor) -> bool:
    return field.name in ("request_id", "candidate_user_id") or (field.has_presence and field.message_type is None)


def _give(message: Any, field: FieldDescriptor, pools: Pools, random_: random.Random) -> None:
    count = random_.choice((1, 1, 2, 3)) if field.is_repeated else 1
    for _ in range(count):
        value = _value(field, pools, random_)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)


def _value(field: FieldDescriptor, pools: Pools, random_: random.Random) -> Any:
    if field.message_type is not None:
        return _message(field, pools, random_)
    if field.enum_type is not None:
        return random_.choice([each.number for each in field.enum_type.values if each.number] or [0])
    if field.type == field.TYPE_STRING:
        return _text(field, pools, random_)
    if field.type == field.TYPE_BYTES:
        return b'{"type": "email.sent"}'
    if field.cpp_type == field.CPPTYPE_BOOL:
        return random_.random() < 0.8
    return random_.randrange(1, 30)


def _message(field: FieldDescriptor, pools: Pools, random_: random.Random) -> Message:
    message: Any = GetMessageClass(field.message_type)()
    kind = field.message_type.full_name
    if kind == "google.protobuf.Timestamp":
        message.seconds = int(time.time()) + random_.randrange(-HOUR, 200 * HOUR)
    elif kind == "google.protobuf.Duration":
        message.seconds = random_.randrange(60, 23 * HOUR)
    elif kind == "google.protobuf.Struct":
        message.update({"theme": "dark", "list": [1, "two", None, {"three": 3.5}]})
    elif kind == "google.type.LatLng":
        message.latitude, message.longitude = (each + random_.uniform(-0.05, 0.05) for each in CENTRE)
    elif kind == "google.protobuf.UInt64Value":
        message.value = random_.randrange(5)
    else:
        message = likely(field.message_type, pools, random_)
    filled: Message = message
    return filled


def _text(field: FieldDescriptor, pools: Pools, random_: random.Random) -> str:
    name = field.name
    if name == "token":
        name = "session_token" if field.file.package.startswith("wingmanmatch.session") else "share_token"
    if name.endswith("challenge_id") and name != "user_challenge_id":
        name = "challenge_id"
    if name in _WRITTEN:
        return str(random_.choice(_WRITTEN[name]))
    known = pools.choose(name, random_)
    if known is not None and (name != "request_id"):
        return str(known)
    if name.endswith("_id"):
        return str(uuid.UUID(int=random_.getrandbits(128), version=4))
    return random_.choice(WORDS)


_WRITTEN = {
    "email": ("somebody@example.org", "ann@example.com"),
    "recipient_email": ("somebody@example.org",),
    "photo_url": ("https://example.org/sam.jpg",),
    "time_zone": ("Europe/Vienna", "America/New_York", "UTC"),
    "locale": ("en", "de-AT"),
    "subject": ("somebody", "203.0.113.9", "x"),
    "key": ("policy", "ip", "user"),
    "value": ("public_api", "auth_endpoint", "203.0.113.9", "somebody"),
    "domain": ("edge",),
    "name": ("database", "redis", "email", "external_api"),
    "svix_timestamp": ("1800000000",),
}
