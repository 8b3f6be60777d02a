"""What matching asks of the database. One method is one call is one transaction: it has its whole effect or none.

Every method also raises errors.Unavailable if the database does not answer, and ResultInvalid if what it returns is
not what `rows.py` declares.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.results import ResultType
from wingmanmatch_server.matching.digests import PersonDigests
from wingmanmatch_server.matching.rows import (
    AnsweredMatch,
    CandidatePage,
    Deletion,
    ExportPage,
    Feed,
    FeedPosition,
    Feeds,
    Match,
    MatchPage,
    PendingErasure,
    PendingErasures,
    Profile,
    Reputation,
    RequestedMatch,
    SharedMatch,
    StoredProfile,
)
from wingmanmatch_server.paging import Position
from wingmanmatch_server.share_links import ShareLink

RELOCATION = "profile_relocation"  # the policy that limits far moves

_PROFILE = ResultType(Profile, "profile")
_STORED_PROFILE = ResultType(StoredProfile)
_CANDIDATES = ResultType(CandidatePage)
_REQUESTED = ResultType(RequestedMatch)
_ANSWERED = ResultType(AnsweredMatch)
_MATCH = ResultType(Match, "match")
_MATCHES = ResultType(MatchPage)
_REPUTATION = ResultType(Reputation, "reputation")
_SHARE_LINK = ResultType(ShareLink, "share_link")
_SHARED_MATCH = ResultType(SharedMatch, "shared_match")
_FEEDS = ResultType(Feeds)
_DELETION = ResultType(Deletion)
_ERASURES = ResultType(PendingErasures)
_EXPORT = ResultType(ExportPage)
_EXPIRED = ResultType(int, "expired")
_PURGED = ResultType(int, "purged")


class MatchingStore:
    """Profiles, candidates and matches.

    Every `request_id` is a UUID or None: a mutation repeated with it within 24 hours returns the first answer again and
    changes nothing. Mutations raise errors.InvalidArgument REQUEST_ID_REUSED if it came with another request.
    """

    def __init__(self, database: Database, *, max_daily_matches: int, digests: PersonDigests | None = None) -> None:
        """`digests` name what outlives an erasure; without them nothing does."""
        self._database = database
        self._max_daily_matches = max_daily_matches
        self._digests = digests or PersonDigests(())

    async def upsert_profile(
        self, profile: Mapping[str, Any], *, request_id: str | None = None, may_relocate: bool = True
    ) -> StoredProfile:
        """Create or replace a profile together with what matching knows of it; return it as stored.

        `location` is an object of `latitude` and `longitude`, in degrees, and is never returned; without it the stored
        one stays. Raises errors.InvalidArgument, which names the field, also if a new profile has no location, and
        errors.FailedPrecondition ERASED_RECENTLY of an id whose erasure was completed less than 24 hours ago. One that
        returns after that is kept apart from the same people as before, and has the no-shows of before.
        Without `may_relocate` raises errors.ResourceExhausted, policy RELOCATION, if all that is in the way is that
        the place moves far: more than 25 miles from where it was when a far move was last counted.
        """
        return await _STORED_PROFILE.call(
            self._database,
            "upsert_profile",
            p_profile=dict(profile),
            p_request_id=request_id,
            p_may_relocate=may_relocate,
            p_digests=self._digests.all_of(profile.get("user_id") or ""),
        )

    async def get_profile(self, user_id: str) -> Profile:
        """Return a profile, without the location. Raises errors.NotFound."""
        return await _PROFILE.call(self._database, "get_profile", p_user_id=user_id)

    async def list_candidates(
        self, user_id: str, *, radius_miles: float = 25, page_size: int = 10, after: Position | None = None
    ) -> CandidatePage:
        """Return whom `user_id` could invite now, nearest first, behind the position `after`.

        Whoever moves, leaves or comes between two pages shifts nobody else. Raises errors.NotFound and
        errors.FailedPrecondition about `user_id`, and errors.InvalidArgument PAGE_TOKEN_INVALID about a position that
        lacks something.
        """
        return await _CANDIDATES.call(
            self._database,
            "list_candidates",
            p_user_id=user_id,
            p_radius_miles=radius_miles,
            p_page_size=page_size,
            p_position=after,
        )

    async def request_match(
        self,
        user_id: str,
        *,
        candidate_user_id: str | None = None,
        radius_miles: float = 25,
        venue_suggestion: str = "",
        message: str = "",
        request_id: str | None = None,
    ) -> RequestedMatch:
        """Invite the nearest compatible person or the one named, write the mail, and return the match.

        If the named person's own invitation is pending, that match is accepted instead and the acceptance's mail is
        written. Raises errors.NotFound, errors.FailedPrecondition, errors.ResourceExhausted at the daily maximum, and
        errors.Aborted CONFLICT if others took every candidate in the meantime.
        """
        return await _REQUESTED.call(
            self._database,
            "request_match",
            p_user_id=user_id,
            p_candidate_user_id=candidate_user_id,
            p_radius_miles=radius_miles,
            p_venue_suggestion=venue_suggestion,
            p_message=message,
            p_max_daily_matches=self._max_daily_matches,
            p_request_id=request_id,
        )

    async def respond_to_match(
        self, match_id: str, user_id: str, response: str, *, find_next: bool = False, request_id: str | None = None
    ) -> AnsweredMatch:
        """Answer an invitation with ACCEPT or DECLINE, write the mail, and return the match.

        With `find_next` a DECLINE also invites the nearest compatible person; `next_match` and `next_candidate` are
        None otherwise and where that is not possible, and the decline stands. Raises errors.NotFound to a stranger,
        errors.PermissionDenied to the requester, errors.FailedPrecondition MATCH_NOT_PENDING.
        """
        return await _ANSWERED.call(
            self._database,
            "respond_to_match",
            p_match_id=match_id,
            p_user_id=user_id,
            p_response=response,
            p_find_next=find_next,
            p_max_daily_matches=self._max_daily_matches,
            p_request_id=request_id,
        )

    async def cancel_match(self, match_id: str, user_id: str, *, request_id: str | None = None) -> Match:
        """Withdraw an invitation, and its mail if that is not out; return the match.

        Raises errors.NotFound to a stranger, errors.PermissionDenied to the invited person,
        errors.FailedPrecondition MATCH_NOT_PENDING.
        """
        return await _MATCH.call(
            self._database, "cancel_match", p_match_id=match_id, p_user_id=user_id, p_request_id=request_id
        )

    async def end_match(self, match_id: str, user_id: str, *, request_id: str | None = None) -> Match:
        """End an accepted match, call off its meet-up if that lies ahead, and return the match.

        Raises errors.NotFound to a stranger, errors.FailedPrecondition MATCH_NOT_ACCEPTED.
        """
        return await _MATCH.call(
            self._database, "end_match", p_match_id=match_id, p_user_id=user_id, p_request_id=request_id
        )

    async def block_user(self, user_id: str, blocked_user_id: str, *, request_id: str | None = None) -> None:
        """Keep two people apart from now on, and end their live match with its meet-up. Repeating it changes nothing.

        Raises errors.NotFound if either has no profile, errors.InvalidArgument about oneself.
        """
        await self._database.call(
            "block_user", p_user_id=user_id, p_blocked_user_id=blocked_user_id, p_request_id=request_id
        )

    async def unblock_user(self, user_id: str, blocked_user_id: str, *, request_id: str | None = None) -> None:
        """Take back a person's own block, also of somebody erased; the other's stays. Repeating it changes nothing.

        Raises errors.NotFound of a person who was just erased.
        """
        await self._database.call(
            "unblock_user",
            p_user_id=user_id,
            p_blocked_user_id=blocked_user_id,
            p_request_id=request_id,
            p_blocked_digests=self._digests.all_of(blocked_user_id),
        )

    async def get_reputation(self, user_id: str) -> Reputation:
        """Return what others may know of a person's reliability. Raises errors.NotFound."""
        return await _REPUTATION.call(self._database, "get_reputation", p_user_id=user_id)

    async def get_match(self, match_id: str, user_id: str) -> Match:
        """Return a match to one of its two people. Raises errors.NotFound, to a stranger too."""
        return await _MATCH.call(self._database, "get_match", p_match_id=match_id, p_user_id=user_id)

    async def list_matches(
        self, user_id: str, *, states: Sequence[str] | None = None, page_size: int = 20, after: Position | None = None
    ) -> MatchPage:
        """Return a person's matches in `states`, or all, newest first, behind the position `after`."""
        return await _MATCHES.call(
            self._database, "list_matches", p_user_id=user_id, p_states=states, p_page_size=page_size, p_position=after
        )

    async def share_match(
        self, match_id: str, user_id: str, *, ttl_seconds: float, request_id: str | None = None
    ) -> ShareLink:
        """Make a link to an accepted match and return it.

        Raises errors.NotFound to a stranger too, errors.FailedPrecondition MATCH_NOT_ACCEPTED.
        """
        return await _SHARE_LINK.call(
            self._database,
            "share_match",
            p_match_id=match_id,
            p_user_id=user_id,
            p_ttl_seconds=ttl_seconds,
            p_request_id=request_id,
        )

    async def get_shared_match(self, share_link_id: str) -> SharedMatch:
        """Return all that a link shows. Raises errors.NotFound if it is over or never was."""
        return await _SHARED_MATCH.call(self._database, "get_shared_match", p_share_link_id=share_link_id)

    async def revoke_share_link(self, share_link_id: str, user_id: str, *, request_id: str | None = None) -> None:
        """End a link that the person made to a match, once and for all. Raises errors.NotFound."""
        await self._database.call(
            "revoke_share_link",
            p_share_link_id=share_link_id,
            p_user_id=user_id,
            p_subject="MATCH",
            p_request_id=request_id,
        )

    async def expire_matches(self, *, limit: int = 100) -> int:
        """Mark at most `limit` pending matches expired whose time is over; return how many.

        Any number of processes may do so at once. Until it happens such matches are read as expired all the same.
        """
        return await _EXPIRED.call(self._database, "expire_matches", p_limit=limit)

    async def purge_request_keys(self, *, limit: int = 1000) -> int:
        """Forget at most `limit` answers that are past their 24 hours; return how many."""
        return await _PURGED.call(self._database, "purge_request_keys", p_limit=limit)

    async def read_events(self, positions: Sequence[FeedPosition], *, limit: int) -> Sequence[Feed]:
        """Return what follows several positions, in each feed at most `limit` events, without the feeds where none do.

        A position without `after` is answered with the number of the last event instead of events.
        """
        asked = [position._asdict() for position in positions]
        return (await _FEEDS.call(self._database, "read_match_events", p_feeds=asked, p_limit=limit)).feeds

    async def purge_events(self, *, limit: int = 5000) -> int:
        """Forget at most `limit` events that are past their week; return how many."""
        return await _PURGED.call(self._database, "purge_match_events", p_limit=limit)

    async def delete_profile(self, user_id: str, *, request_id: str | None = None) -> str | None:
        """Erase a person from the database: live matches end, and others' history keeps nobody in the person's place.

        Return the id of the erasure, for `finish_erasure` once everything outside the database is cleaned up, or None
        where a repeated request finds the person erased. Raises errors.NotFound, and errors.Aborted CONFLICT if others
        invited the person faster than they could be held.
        """
        deletion = await _DELETION.call(
            self._database,
            "delete_profile",
            p_user_id=user_id,
            p_request_id=request_id,
            p_digest=self._digests.first_of(user_id),
        )
        return deletion.erasure_id

    async def claim_erasures(self, *, limit: int = 10) -> Sequence[PendingErasure]:
        """Return at most `limit` erasures whose clean-up is due, for a minute to this caller alone."""
        return (await _ERASURES.call(self._database, "claim_erasures", p_limit=limit)).erasures

    async def finish_erasure(self, erasure_id: str) -> None:
        """Record that everything outside the database is cleaned up, and forget after whom; 24 hours begin now."""
        await self._database.call("finish_erasure", p_erasure_id=erasure_id)

    async def list_export_records(
        self, user_id: str, kind: str, *, after: Mapping[str, Any] | None = None, page_size: int = 100
    ) -> ExportPage:
        """Return what is stored about a person of a kind, the oldest first, behind `after`.

        Raises errors.NotFound.
        """
        return await _EXPORT.call(
            self._database, "list_export_records", p_user_id=user_id, p_kind=kind, p_after=after, p_page_size=page_size
        )
