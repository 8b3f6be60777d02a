"""Every RPC that writes something about a person, with requests about one."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message_factory import GetMessageClass

from support.credentials import KEY, bearer, user_token
from support.requests import TIMEOUT, profile
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch.notification.v1 import notification_pb2
from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server.bootstrap.services import SERVICES

# They write nothing about people, but numbers under a subject of the caller's choice; or need the provider's signature.
OF_NOBODY = {
    "RecordDeliveryEvent",
    "CheckRateLimit",
    "ResetRateLimit",
    "RefundRateLimit",
    "StreamCheckRateLimit",
    "ShouldRateLimit",
    "ResetCircuitBreaker",
}
CHALLENGES = ("c1a11e9e-0001-4000-8000-000000000001", "c1a11e9e-0002-4000-8000-000000000002")


@dataclass
class Victim:
    """Somebody about whom much is written, and the ids of it. `mark` stands in all that the person wrote."""

    user_id: str
    friend: str
    mark: str
    profile: matching_pb2.Profile
    match_id: str = ""
    meetup_id: str = ""
    attempt_id: str = ""
    notification_id: str = ""
    token: str = ""
    links: list[str] = field(default_factory=list)

    @property
    def email(self) -> str:
        """The address in the profile."""
        return self.profile.email


def _own(victim: Victim, **fields: Any) -> dict[str, Any]:
    return {"user_id": victim.user_id, "request_id": str(uuid.uuid4())} | fields


def _repeatable(**fields: Any) -> dict[str, Any]:
    return {"request_id": str(uuid.uuid4())} | fields


def _later(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def _data(victim: Victim) -> dict[str, Any]:
    return {"who": victim.mark}


DAY = timedelta(days=1)
PREFERENCES = [{"kind": notification_pb2.NOTIFICATION_KIND_MATCH_DECLINE, "enabled": False}]
# By method; RevokeShareLink is one of two services.
REQUESTS: Mapping[str, Callable[[Victim], dict[str, Any]]] = {
    "UpsertProfile": lambda v: _repeatable(profile=v.profile),
    "RequestMatch": lambda v: _own(v, candidate_user_id=v.friend, message=v.mark),
    "RespondToMatch": lambda v: _own(v, match_id=v.match_id, response=matching_pb2.MATCH_RESPONSE_ACCEPT),
    "CancelMatch": lambda v: _own(v, match_id=v.match_id),
    "EndMatch": lambda v: _own(v, match_id=v.match_id),
    "BlockUser": lambda v: _own(v, blocked_user_id=v.friend),
    "UnblockUser": lambda v: _own(v, blocked_user_id=v.friend),
    "ShareMatch": lambda v: _own(v, match_id=v.match_id, ttl=DAY),
    "RevokeShareLink": lambda v: _own(v, share_link_id=str(uuid.uuid4())),
    "ScheduleMeetup": lambda v: _own(v, match_id=v.match_id, venue_name=v.mark, scheduled_time=_later(72)),
    "RescheduleMeetup": lambda v: _own(v, meetup_id=v.meetup_id, scheduled_time=_later(80)),
    "CancelMeetup": lambda v: _own(v, meetup_id=v.meetup_id),
    "ConfirmMeetup": lambda v: _own(v, meetup_id=v.meetup_id),
    "ReportNoShow": lambda v: _own(v, meetup_id=v.meetup_id),
    "UpdateMeetupNotes": lambda v: _own(v, meetup_id=v.meetup_id, notes=v.mark),
    "StartChallenge": lambda v: _own(v, challenge_id=CHALLENGES[1]),
    "SubmitChallenge": lambda v: _own(v, user_challenge_id=v.attempt_id, notes=v.mark),
    "ShareChallenge": lambda v: _own(v, user_challenge_id=v.attempt_id, ttl=DAY),
    "SendNotification": lambda v: _own(v, recipient_email=v.email, match_decline={"decliner_name": v.mark}),
    "CancelNotification": lambda v: _repeatable(notification_id=v.notification_id),
    "RetryNotification": lambda v: _repeatable(notification_id=v.notification_id),
    "UpdatePreferences": lambda v: _own(v, kinds=PREFERENCES),
    "CreateSession": lambda v: _own(v, data=_data(v)),
    "GetSession": lambda v: {"token": v.token, "touch": True},
    "UpdateSession": lambda v: _repeatable(token=v.token, data=_data(v)),
    "TouchSession": lambda v: {"token": v.token, "ttl": timedelta(hours=1)},
    "DeleteSession": lambda v: {"token": v.token},
    "DeleteUserSessions": lambda v: {"user_id": v.user_id},
    "Chat": lambda v: {"user_id": v.user_id, "message": f"How do I say hello? {v.mark}"},
    "DeleteConversation": lambda v: {"user_id": v.user_id, "conversation_id": str(uuid.uuid4())},
}


def writing_methods() -> list[MethodDescriptor]:
    """Return every method that may change something, but for DeleteProfile and those of nobody."""
    return [
        method
        for service in SERVICES
        for method in service.methods
        if method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
        and method.name not in OF_NOBODY | {"DeleteProfile"}
    ]


async def call(client: Stubs, method: MethodDescriptor, victim: Victim, **fields: Any) -> Any:
    """Make one call about a victim, by the victim's own token where that is enough; return the last of what comes."""
    request = GetMessageClass(method.input_type)(**REQUESTS[method.name](victim) | fields)
    access = method.GetOptions().Extensions[options_pb2.policy].access
    credential = user_token(victim.user_id, email=victim.email) if access == options_pb2.ACCESS_USER else KEY
    area = method.containing_service.full_name.split(".")[1]
    made = getattr(getattr(client, area), method.name)(request, metadata=bearer(credential), timeout=TIMEOUT)
    if not method.server_streaming:
        return await made
    return [each async for each in made][-1]


def named(name: str) -> MethodDescriptor:
    """Return the first method of this name."""
    return next(method for method in writing_methods() if method.name == name)


async def settled(client: Stubs, name: str) -> Victim:
    """Make somebody about whom there is something of everything, and a friend."""
    user_id, friend, mark = str(uuid.uuid4()), str(uuid.uuid4()), f"mark{name}x"
    mine = profile(user_id=user_id, email=f"{mark}@example.org", first_name=mark.title(), bio=mark)
    theirs = profile(user_id=friend, email=f"friend{name}@example.org", location=mine.location)
    victim = Victim(user_id, friend, mark, mine)
    for each in (theirs, mine):
        await call(client, named("UpsertProfile"), Victim(each.user_id, "", "", each))
    asked = await call(client, named("RequestMatch"), victim)
    victim.match_id = asked.match.id
    await call(client, named("RespondToMatch"), Victim(friend, user_id, mark, theirs, victim.match_id))
    scheduled = await call(client, named("ScheduleMeetup"), victim)
    victim.meetup_id = scheduled.meetup.id
    started = await call(client, named("StartChallenge"), victim, challenge_id=CHALLENGES[0])
    victim.attempt_id = started.user_challenge.id
    sent = await call(client, named("SendNotification"), victim, send_time=_later(24))
    victim.notification_id = sent.notification.id
    victim.token = (await call(client, named("CreateSession"), victim)).token
    return victim
