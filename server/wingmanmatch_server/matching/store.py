"""What matching asks of the database. One method is one call is one transaction: it has its whole effect or none.

Answers are JSON objects, and what is in them has the field names of the API: times as ISO 8601 text, enum values
without their prefix. Every method also raises errors.Unavailable if the database does not answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from wingmanmatch_server.drivers.database import Database

Json = dict[str, Any]


class MatchingStore:
    """Profiles, candidates and matches.

    Every `request_id` is a UUID or None: a mutation repeated with it within 24 hours returns the first answer again and
    changes nothing. Mutations raise errors.InvalidArgument REQUEST_ID_REUSED if it came with another request.
    """

    def __init__(self, database: Database, *, max_daily_matches: int) -> None:
        self._database = database
        self._max_daily_matches = max_daily_matches

    async def upsert_profile(self, profile: Mapping[str, Any], *, request_id: str | None = None) -> Json:
        """Create or replace a profile together with what matching knows of it; return {profile} as stored.

        `location` is an object of `latitude` and `longitude`, in degrees, and is never returned; without it the stored
        one stays. Raises errors.InvalidArgument, which names the field, also if a new profile has no location.
        """
        return await self._call("upsert_profile", p_profile=dict(profile), p_request_id=request_id)

    async def get_profile(self, user_id: str) -> Json:
        """Return {profile}, without the location. Raises errors.NotFound."""
        return await self._call("get_profile", p_user_id=user_id)

    async def list_candidates(
        self, user_id: str, *, radius_miles: float = 25, page_size: int = 10, after: str | None = None
    ) -> Json:
        """Return {candidates, next_after}: whom `user_id` could invite now, nearest first, those behind `after`.

        `next_after` is None at the end of the list, and otherwise the `after` of its next page. Raises errors.NotFound
        and errors.FailedPrecondition about `user_id`, and errors.InvalidArgument PAGE_TOKEN_INVALID if `after` is
        nobody any more.
        """
        return await self._call(
            "list_candidates", p_user_id=user_id, p_radius_miles=radius_miles, p_page_size=page_size, p_after=after
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
    ) -> Json:
        """Invite the nearest compatible person or the one named, write the mail, and return {match, candidate}.

        If the named person's own invitation is pending, that match is accepted instead and the acceptance's mail is
        written. Raises errors.NotFound, errors.FailedPrecondition, errors.ResourceExhausted at the daily maximum, and
        errors.Aborted CONFLICT if others took every candidate in the meantime.
        """
        return await self._call(
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
    ) -> Json:
        """Answer an invitation with ACCEPT or DECLINE, write the mail, and return {match, next_match, next_candidate}.

        With `find_next` a DECLINE also invites the nearest compatible person; the two are None otherwise and where that
        is not possible, and the decline stands. Raises errors.NotFound to a stranger, errors.PermissionDenied to the
        requester, errors.FailedPrecondition MATCH_NOT_PENDING.
        """
        return await self._call(
            "respond_to_match",
            p_match_id=match_id,
            p_user_id=user_id,
            p_response=response,
            p_find_next=find_next,
            p_max_daily_matches=self._max_daily_matches,
            p_request_id=request_id,
        )

    async def cancel_match(self, match_id: str, user_id: str, *, request_id: str | None = None) -> Json:
        """Withdraw an invitation, and its mail if that is not out; return {match}.

        Raises errors.NotFound to a stranger, errors.PermissionDenied to the invited person,
        errors.FailedPrecondition MATCH_NOT_PENDING.
        """
        return await self._call("cancel_match", p_match_id=match_id, p_user_id=user_id, p_request_id=request_id)

    async def end_match(self, match_id: str, user_id: str, *, request_id: str | None = None) -> Json:
        """End an accepted match, call off its meet-up if that lies ahead, and return {match}.

        Raises errors.NotFound to a stranger, errors.FailedPrecondition MATCH_NOT_ACCEPTED.
        """
        return await self._call("end_match", p_match_id=match_id, p_user_id=user_id, p_request_id=request_id)

    async def block_user(self, user_id: str, blocked_user_id: str, *, request_id: str | None = None) -> None:
        """Keep two people apart from now on, and end their live match with its meet-up. Repeating it changes nothing.

        Raises errors.NotFound if either has no profile, errors.InvalidArgument about oneself.
        """
        await self._call("block_user", p_user_id=user_id, p_blocked_user_id=blocked_user_id, p_request_id=request_id)

    async def unblock_user(self, user_id: str, blocked_user_id: str, *, request_id: str | None = None) -> None:
        """Take back a person's own block; the other's stays. Repeating it changes nothing."""
        await self._call("unblock_user", p_user_id=user_id, p_blocked_user_id=blocked_user_id, p_request_id=request_id)

    async def get_reputation(self, user_id: str) -> Json:
        """Return {reputation}: user_id, score, badge, completed_count, no_show_count. Raises errors.NotFound."""
        return await self._call("get_reputation", p_user_id=user_id)

    async def get_match(self, match_id: str, user_id: str) -> Json:
        """Return {match} to one of its two people. Raises errors.NotFound, to a stranger too."""
        return await self._call("get_match", p_match_id=match_id, p_user_id=user_id)

    async def list_matches(
        self, user_id: str, *, states: Sequence[str] | None = None, page_size: int = 20, after: str | None = None
    ) -> Json:
        """Return {matches, next_after}: a person's matches in `states`, or all, newest first, behind the match `after`.

        `next_after` is None at the end of the list, and otherwise the `after` of its next page. Raises
        errors.InvalidArgument PAGE_TOKEN_INVALID if `after` is no match of the person.
        """
        return await self._call(
            "list_matches", p_user_id=user_id, p_states=states, p_page_size=page_size, p_after=after
        )

    async def share_match(
        self, match_id: str, user_id: str, *, ttl_seconds: float, request_id: str | None = None
    ) -> Json:
        """Make a link to an accepted match; return {share_link}.

        Raises errors.NotFound to a stranger too, errors.FailedPrecondition MATCH_NOT_ACCEPTED.
        """
        return await self._call(
            "share_match", p_match_id=match_id, p_user_id=user_id, p_ttl_seconds=ttl_seconds, p_request_id=request_id
        )

    async def get_shared_match(self, share_link_id: str) -> Json:
        """Return {shared_match}, all that a link shows. Raises errors.NotFound if it is over or never was."""
        return await self._call("get_shared_match", p_share_link_id=share_link_id)

    async def revoke_share_link(self, share_link_id: str, user_id: str, *, request_id: str | None = None) -> None:
        """End a link that the person made to a match, once and for all. Raises errors.NotFound."""
        await self._call(
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
        expired: int = (await self._call("expire_matches", p_limit=limit))["expired"]
        return expired

    async def purge_request_keys(self, *, limit: int = 1000) -> int:
        """Forget at most `limit` answers that are past their 24 hours; return how many."""
        purged: int = (await self._call("purge_request_keys", p_limit=limit))["purged"]
        return purged

    async def read_events(self, feeds: Sequence[Json], *, limit: int) -> Sequence[Json]:
        """Return what follows in the feeds of events of several people.

        Each of `feeds` is {user_id, after}, and the answer {user_id, after, last_sequence, events}: at most `limit`
        events whose `sequence` is above `after`. It leaves out those in which nothing follows. Without `after` there
        are no events, but the number of the last; `last_sequence` is None for somebody who has no profile.
        """
        answer = await self._call("read_match_events", p_feeds=list(feeds), p_limit=limit)
        found: Sequence[Json] = answer["feeds"]
        return found

    async def purge_events(self, *, limit: int = 5000) -> int:
        """Forget at most `limit` events that are past their week; return how many."""
        purged: int = (await self._call("purge_match_events", p_limit=limit))["purged"]
        return purged

    async def delete_profile(self, user_id: str, *, request_id: str | None = None) -> str | None:
        """Erase a person from the database: live matches end, and others' history keeps nobody in the person's place.

        Return the id of the erasure, for `finish_erasure` once everything outside the database is cleaned up, or None
        where a repeated request finds the person erased. Raises errors.NotFound, and errors.Aborted CONFLICT if others
        invited the person faster than they could be held.
        """
        answer = await self._call("delete_profile", p_user_id=user_id, p_request_id=request_id)
        erasure_id: str | None = answer["erasure_id"]
        return erasure_id

    async def claim_erasures(self, *, limit: int = 10) -> Sequence[Json]:
        """Return at most `limit` {erasure_id, user_id} whose clean-up is due, for a minute to this caller alone."""
        erasures: Sequence[Json] = (await self._call("claim_erasures", p_limit=limit))["erasures"]
        return erasures

    async def finish_erasure(self, erasure_id: str) -> None:
        """Note that everything outside the database is cleaned up, and forget after whom."""
        await self._database.call("finish_erasure", p_erasure_id=erasure_id)

    async def list_export_records(
        self, user_id: str, kind: str, *, after: Json | None = None, page_size: int = 100
    ) -> Json:
        """Return {records, next_after}: what is stored about a person of a kind, the oldest first, behind `after`.

        `next_after` is None at the end of the list. Raises errors.NotFound.
        """
        return await self._call(
            "list_export_records", p_user_id=user_id, p_kind=kind, p_after=after, p_page_size=page_size
        )

    async def _call(self, function: str, **parameters: Any) -> Json:
        answer: Json = await self._database.call(function, **parameters)
        return answer
