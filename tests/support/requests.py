"""Requests that are right, for tests to send or to spoil."""

import random
import uuid
from typing import Any

from support.credentials import email_of
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2

TIMEOUT = 10.0


def profile(**changes: Any) -> matching_pb2.Profile:
    """Return a valid profile of somebody new, far from everybody else unless `location` says where."""
    spread = random.SystemRandom()
    user_id = changes.get("user_id") or str(uuid.uuid4())
    fields = {
        "user_id": user_id,
        "email": email_of(user_id),
        "first_name": "Sam",
        "last_name": "Body",
        "bio": "Likes parks.\nAnd cafés.",
        "experience_level": matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
        "confidence_archetype": matching_pb2.CONFIDENCE_ARCHETYPE_SCHOLAR,
        "location": {"latitude": spread.uniform(-70, 70), "longitude": spread.uniform(-180, 180)},
        "city": "Springfield",
        "time_zone": "Europe/Vienna",
        "locale": "en-GB",
    }
    return matching_pb2.Profile(**fields | changes)


async def join(client: Stubs, **changes: Any) -> matching_pb2.Profile:
    """Create a profile and return it as it was sent."""
    sent = profile(**changes)
    await client.matching.UpsertProfile(matching_service_pb2.UpsertProfileRequest(profile=sent), timeout=TIMEOUT)
    return sent


async def join_pair(client: Stubs, **changes: Any) -> tuple[str, str]:
    """Create two people within each other's reach and nobody else's, and return their ids."""
    first = await join(client, **changes)
    second = await join(client, location=first.location, **changes)
    return first.user_id, second.user_id


async def invite(client: Stubs, requester: str, invitee: str, **fields: Any) -> matching_pb2.Match:
    """Make one person invite another and return the match."""
    request = matching_service_pb2.RequestMatchRequest(user_id=requester, candidate_user_id=invitee, **fields)
    return (await client.matching.RequestMatch(request, timeout=TIMEOUT)).match
