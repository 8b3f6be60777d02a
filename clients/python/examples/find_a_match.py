"""Two people join, one asks for the nearest wingman, the other accepts.

Run it: `WINGMANMATCH_TARGET=127.0.0.1:50051 python find_a_match.py`
"""

import asyncio
import os
import uuid

from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_client import Client, FailedPrecondition, RateLimited, connect

TARGET = os.environ.get("WINGMANMATCH_TARGET", "127.0.0.1:50051")
API_KEY = os.environ.get("WINGMANMATCH_API_KEY")


async def join(client: Client, first_name: str, latitude: float, longitude: float) -> str:
    """Create a profile and return the person's id."""
    user_id = str(uuid.uuid4())
    profile = matching_pb2.Profile(
        user_id=user_id,
        email=f"{first_name.lower()}@example.org",
        first_name=first_name,
        experience_level=matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
        confidence_archetype=matching_pb2.CONFIDENCE_ARCHETYPE_SCHOLAR,
        location={"latitude": latitude, "longitude": longitude},
    )
    await client.matching.upsert_profile(profile=profile)
    return user_id


async def find(client: Client, user_id: str) -> matching_pb2.Match | None:
    """Invite the nearest compatible person; None where that is not possible now."""
    try:
        # The client gives the request an id, so that a retry after a lost answer invites nobody twice.
        answer = await client.matching.request_match(user_id=user_id, radius_miles=10, venue_suggestion="the park")
    except RateLimited as error:
        print(f"{error.policy} is used up; try again in {error.retry_after or 0:.0f} s")
        return None
    except FailedPrecondition as error:
        print(f"not now: {error.reason}")
        return None
    print(f"invited {answer.candidate.first_name}, {answer.candidate.distance_miles:.0f} mi away")
    return answer.match


async def main() -> None:
    """Play it."""
    async with connect(TARGET, api_key=API_KEY) as client:
        ada = await join(client, "Ada", 40.71, -74.01)
        ben = await join(client, "Ben", 40.72, -74.01)
        async for candidate in client.matching.iter_candidates(user_id=ada, radius_miles=10):
            print(f"could invite {candidate.first_name}")
        match = await find(client, ada)
        if match is not None and match.invitee_id == ben:
            accepted = await client.matching.respond_to_match(
                match_id=match.id, user_id=ben, response=matching_pb2.MATCH_RESPONSE_ACCEPT
            )
            print(matching_pb2.MatchState.Name(accepted.match.state))


if __name__ == "__main__":
    asyncio.run(main())
