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

        The profile has {experience_level, confidence_archetype, time_zone}, the challenge {title, difficulty,
        expire_time}, the meet-up {scheduled_time, challenge_title}. No name, address, place or free text is in it.
        """
        answer: Json = await self._database.call("coaching_context", p_user_id=user_id)
        return answer

    async def plan_facts(self, match_id: str, user_id: str) -> Json:
        """Return {match_id, requester, invitee, challenges} of a live match to one of its two people.

        Each person has {user_id, experience_level, confidence_archetype, done_challenge_ids}, each challenge of the
        catalogue {id, title, difficulty}. Raises errors.NotFound MATCH_NOT_FOUND, and errors.FailedPrecondition
        MATCH_NOT_ACCEPTED for a match that is over.
        """
        answer: Json = await self._database.call("meetup_plan_facts", p_match_id=match_id, p_user_id=user_id)
        return answer
