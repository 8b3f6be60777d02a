"""What coaching asks of the database. One method is one call is one transaction, and changes nothing."""

from typing import Any

from wingmanmatch_server.drivers.database import Database

Json = dict[str, Any]


class CoachingStore:
    """What the coach knows of people. Every method raises errors.Unavailable if the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def context(self, user_id: str) -> Json:
        """Return {profile, match_count, challenge, meetup}, each None where the person has none.

        No name, address, place or free text of the person is in it.
        """
        answer: Json = await self._database.call("coaching_context", p_user_id=user_id)
        return answer

    async def plan_facts(self, match_id: str, user_id: str) -> Json:
        """Return {match_id, requester, invitee, challenges} of a match to one of its two people.

        Each person has {user_id, experience_level, confidence_archetype, done_challenge_ids}. Raises errors.NotFound
        MATCH_NOT_FOUND.
        """
        answer: Json = await self._database.call("meetup_plan_facts", p_match_id=match_id, p_user_id=user_id)
        return answer
