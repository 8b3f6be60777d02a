"""What challenges ask of the database. One method is one call is one transaction: it has its whole effect or none.

Answers are JSON objects, and what is in them has the field names of the API: times as ISO 8601 text, enum values
without their prefix. Every method also raises errors.Unavailable if the database does not answer.
"""

from collections.abc import Sequence
from typing import Any

from wingmanmatch_server.drivers.database import Database

Json = dict[str, Any]


class ChallengeStore:
    """The catalogue, people's attempts, and their links.

    Every `request_id` is a UUID or None: a mutation repeated with it within 24 hours returns the first answer again and
    changes nothing. Mutations raise errors.InvalidArgument REQUEST_ID_REUSED if it came with another request.
    """

    def __init__(self, database: Database, *, duration_days: int) -> None:
        """A challenge that is taken on has to be submitted within `duration_days` of 24 hours."""
        self._database = database
        self._duration_days = duration_days

    async def list_challenges(self, known_version: str | None = None) -> Json:
        """Return {version, challenges}, the whole catalogue as the anonymous role may read it, the easiest first.

        Of equally hard ones those with fewer points come first. `challenges` is left out if the catalogue is that of
        `known_version`. Equal versions mean equal catalogues.
        """
        answer: Json = await self._database.call_as_anonymous("list_challenges", p_known_version=known_version)
        return answer

    async def start(self, user_id: str, challenge_id: str, *, request_id: str | None = None) -> Json:
        """Let a person take a challenge on; return {user_challenge}.

        Raises errors.NotFound about the profile or the challenge, and errors.FailedPrecondition CHALLENGE_IN_PROGRESS.
        """
        return await self._call(
            "start_challenge",
            p_user_id=user_id,
            p_challenge_id=challenge_id,
            p_duration_days=self._duration_days,
            p_request_id=request_id,
        )

    async def submit(
        self, user_challenge_id: str, user_id: str, *, notes: str = "", request_id: str | None = None
    ) -> Json:
        """Submit an attempt, credit its points, and return {user_challenge, total_points}.

        Raises errors.NotFound to a stranger too, errors.FailedPrecondition CHALLENGE_SUBMITTED or CHALLENGE_EXPIRED.
        """
        return await self._call(
            "submit_challenge",
            p_user_challenge_id=user_challenge_id,
            p_user_id=user_id,
            p_notes=notes,
            p_request_id=request_id,
        )

    async def list_of_user(
        self, user_id: str, *, states: Sequence[str] | None = None, page_size: int = 20, after: str | None = None
    ) -> Json:
        """Return {user_challenges, next_after, total_points}: a person's attempts, newest first, behind `after`.

        Only those in `states`, or all. `next_after` is None at the end of the list, and otherwise the `after` of its
        next page. Raises errors.InvalidArgument PAGE_TOKEN_INVALID if `after` is no attempt of the person.
        """
        return await self._call(
            "list_user_challenges", p_user_id=user_id, p_states=states, p_page_size=page_size, p_after=after
        )

    async def share(
        self, user_challenge_id: str, user_id: str, *, ttl_seconds: float, request_id: str | None = None
    ) -> Json:
        """Make a link to an attempt; return {share_link}. Raises errors.NotFound, to a stranger too."""
        return await self._call(
            "share_challenge",
            p_user_challenge_id=user_challenge_id,
            p_user_id=user_id,
            p_ttl_seconds=ttl_seconds,
            p_request_id=request_id,
        )

    async def get_shared(self, share_link_id: str) -> Json:
        """Return {shared_challenge}, all that a link shows. Raises errors.NotFound if it is over or never was."""
        return await self._call("get_shared_challenge", p_share_link_id=share_link_id)

    async def revoke(self, share_link_id: str, user_id: str, *, request_id: str | None = None) -> None:
        """End a link that the person made to a challenge, once and for all. Raises errors.NotFound."""
        await self._call(
            "revoke_share_link",
            p_share_link_id=share_link_id,
            p_user_id=user_id,
            p_subject="CHALLENGE",
            p_request_id=request_id,
        )

    async def purge_share_links(self, *, limit: int = 1000) -> int:
        """Forget at most `limit` links of any kind that have expired; return how many."""
        purged: int = (await self._call("purge_share_links", p_limit=limit))["purged"]
        return purged

    async def _call(self, function: str, **parameters: Any) -> Json:
        answer: Json = await self._database.call(function, **parameters)
        return answer
