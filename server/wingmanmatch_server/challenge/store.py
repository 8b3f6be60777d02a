"""What challenges ask of the database. One method is one call is one transaction: it has its whole effect or none.

Every method also raises errors.Unavailable if the database does not answer, and ResultInvalid if what it returns is
not what `rows.py` declares.
"""

from collections.abc import Sequence

from wingmanmatch_server.challenge.rows import (
    ChallengeList,
    SharedChallenge,
    SubmittedChallenge,
    UserChallenge,
    UserChallengePage,
)
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.results import ResultType
from wingmanmatch_server.paging import Position
from wingmanmatch_server.share_links import ShareLink

_CHALLENGES = ResultType(ChallengeList)
_VERSION = ResultType(str, "version")
_USER_CHALLENGE = ResultType(UserChallenge, "user_challenge")
_SUBMITTED = ResultType(SubmittedChallenge)
_USER_CHALLENGES = ResultType(UserChallengePage)
_SHARE_LINK = ResultType(ShareLink, "share_link")
_SHARED_CHALLENGE = ResultType(SharedChallenge, "shared_challenge")
_PURGED = ResultType(int, "purged")


class ChallengeStore:
    """The catalogue, people's attempts, and their links.

    Every `request_id` is a UUID or None: a mutation repeated with it within 24 hours returns the first answer again and
    changes nothing. Mutations raise errors.InvalidArgument REQUEST_ID_REUSED if it came with another request.
    """

    def __init__(self, database: Database, *, duration_days: int) -> None:
        """A challenge that is taken on has to be submitted within `duration_days` of 24 hours."""
        self._database = database
        self._duration_days = duration_days

    async def list_challenges(self) -> ChallengeList:
        """Return the whole catalogue as the anonymous role may read it, the easiest first, and its version.

        Of equally hard ones those with fewer points come first. Equal versions mean equal catalogues.
        """
        result = await self._database.call_as_anonymous("list_challenges")
        return _CHALLENGES.read("list_challenges", result)

    async def get_version(self, known_version: str) -> str:
        """Return the version of the catalogue; the catalogue itself stays in the database if that is the known one."""
        result = await self._database.call_as_anonymous("list_challenges", p_known_version=known_version)
        return _VERSION.read("list_challenges", result)

    async def start(self, user_id: str, challenge_id: str, *, request_id: str | None = None) -> UserChallenge:
        """Let a person take a challenge on and return the attempt.

        Raises errors.NotFound about the profile or the challenge, and errors.FailedPrecondition CHALLENGE_IN_PROGRESS.
        """
        return await _USER_CHALLENGE.call(
            self._database,
            "start_challenge",
            p_user_id=user_id,
            p_challenge_id=challenge_id,
            p_duration_days=self._duration_days,
            p_request_id=request_id,
        )

    async def submit(
        self, user_challenge_id: str, user_id: str, *, notes: str = "", request_id: str | None = None
    ) -> SubmittedChallenge:
        """Submit an attempt, credit its points, and return it with the person's points.

        Raises errors.NotFound to a stranger too, errors.FailedPrecondition CHALLENGE_SUBMITTED or CHALLENGE_EXPIRED.
        """
        return await _SUBMITTED.call(
            self._database,
            "submit_challenge",
            p_user_challenge_id=user_challenge_id,
            p_user_id=user_id,
            p_notes=notes,
            p_request_id=request_id,
        )

    async def list_of_user(
        self, user_id: str, *, states: Sequence[str] | None = None, page_size: int = 20, after: Position | None = None
    ) -> UserChallengePage:
        """Return a person's attempts, newest first, behind the position `after`, with the person's points.

        Only those in `states`, or all.
        """
        return await _USER_CHALLENGES.call(
            self._database,
            "list_user_challenges",
            p_user_id=user_id,
            p_states=states,
            p_page_size=page_size,
            p_position=after,
        )

    async def share(
        self, user_challenge_id: str, user_id: str, *, ttl_seconds: float, request_id: str | None = None
    ) -> ShareLink:
        """Make a link to an attempt and return it. Raises errors.NotFound, to a stranger too."""
        return await _SHARE_LINK.call(
            self._database,
            "share_challenge",
            p_user_challenge_id=user_challenge_id,
            p_user_id=user_id,
            p_ttl_seconds=ttl_seconds,
            p_request_id=request_id,
        )

    async def get_shared(self, share_link_id: str) -> SharedChallenge:
        """Return all that a link shows. Raises errors.NotFound if it is over or never was."""
        return await _SHARED_CHALLENGE.call(self._database, "get_shared_challenge", p_share_link_id=share_link_id)

    async def revoke(self, share_link_id: str, user_id: str, *, request_id: str | None = None) -> None:
        """End a link that the person made to a challenge, once and for all. Raises errors.NotFound."""
        await self._database.call(
            "revoke_share_link",
            p_share_link_id=share_link_id,
            p_user_id=user_id,
            p_subject="CHALLENGE",
            p_request_id=request_id,
        )

    async def purge_share_links(self, *, limit: int = 1000) -> int:
        """Forget at most `limit` links of any kind that have expired; return how many."""
        return await _PURGED.call(self._database, "purge_share_links", p_limit=limit)
