"""What meet-ups ask of the database. One method is one call is one transaction: it has its whole effect or none.

Every method also raises errors.Unavailable if the database does not answer, and ResultInvalid if what it returns is
not what `rows.py` declares.
"""

from collections.abc import Sequence

from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.results import ResultType
from wingmanmatch_server.meetup.rows import Meetup, MeetupPage
from wingmanmatch_server.paging import Position

_MEETUP = ResultType(Meetup, "meetup")
_MEETUPS = ResultType(MeetupPage)
_EXPIRED = ResultType(int, "expired")


class MeetupStore:
    """Meet-ups, each shown to its two people alone: to anybody else it does not exist, errors.NotFound.

    Times given are ISO 8601 with an offset. Every `request_id` is a UUID or None: a mutation repeated with it within 24
    hours returns the first answer again and changes nothing. Mutations raise errors.InvalidArgument REQUEST_ID_REUSED
    if it came with another request.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def schedule_meetup(
        self,
        match_id: str,
        user_id: str,
        *,
        venue_name: str,
        scheduled_time: str,
        requester_challenge_id: str | None = None,
        invitee_challenge_id: str | None = None,
        request_id: str | None = None,
    ) -> Meetup:
        """Schedule a meet-up of an accepted match, write its mails and reminders, and return it.

        Raises errors.NotFound about the match and the challenges, errors.FailedPrecondition MATCH_NOT_ACCEPTED and
        MEETUP_EXISTS, errors.InvalidArgument MEETUP_TIME_PAST.
        """
        return await _MEETUP.call(
            self._database,
            "schedule_meetup",
            p_match_id=match_id,
            p_user_id=user_id,
            p_venue_name=venue_name,
            p_scheduled_time=scheduled_time,
            p_requester_challenge_id=requester_challenge_id,
            p_invitee_challenge_id=invitee_challenge_id,
            p_request_id=request_id,
        )

    async def reschedule_meetup(
        self,
        meetup_id: str,
        user_id: str,
        *,
        scheduled_time: str | None = None,
        venue_name: str | None = None,
        request_id: str | None = None,
    ) -> Meetup:
        """Move a meet-up that has not begun, its reminders too, write the mails, and return it.

        What is None stays, and what changes nothing is told to nobody. Raises errors.FailedPrecondition
        MEETUP_NOT_SCHEDULED and MEETUP_STARTED, errors.InvalidArgument MEETUP_TIME_PAST.
        """
        return await _MEETUP.call(
            self._database,
            "reschedule_meetup",
            p_meetup_id=meetup_id,
            p_user_id=user_id,
            p_scheduled_time=scheduled_time,
            p_venue_name=venue_name,
            p_request_id=request_id,
        )

    async def cancel_meetup(self, meetup_id: str, user_id: str, *, request_id: str | None = None) -> Meetup:
        """Call off a meet-up that has not begun, drop its reminders, write the mails, and return it.

        Raises errors.FailedPrecondition MEETUP_NOT_SCHEDULED and MEETUP_STARTED.
        """
        return await _MEETUP.call(
            self._database, "cancel_meetup", p_meetup_id=meetup_id, p_user_id=user_id, p_request_id=request_id
        )

    async def confirm_meetup(self, meetup_id: str, user_id: str, *, request_id: str | None = None) -> Meetup:
        """Say that the other person was there; return the meetup, COMPLETED once both did.

        Saying so again changes nothing. Raises errors.FailedPrecondition MEETUP_NOT_STARTED, MEETUP_NOT_SCHEDULED, and
        MEETUP_ANSWERED to who reported the other missing.
        """
        return await _MEETUP.call(
            self._database, "confirm_meetup", p_meetup_id=meetup_id, p_user_id=user_id, p_request_id=request_id
        )

    async def report_no_show(self, meetup_id: str, user_id: str, *, request_id: str | None = None) -> Meetup:
        """Say that the other person was missing, which costs them reputation; return the meetup, which is MISSED.

        Saying so again changes nothing. Raises errors.FailedPrecondition MEETUP_NOT_STARTED, MEETUP_NOT_SCHEDULED, and
        MEETUP_ANSWERED to who confirmed the other.
        """
        return await _MEETUP.call(
            self._database, "report_no_show", p_meetup_id=meetup_id, p_user_id=user_id, p_request_id=request_id
        )

    async def update_meetup_notes(
        self, meetup_id: str, user_id: str, notes: str, *, request_id: str | None = None
    ) -> Meetup:
        """Replace what a person noted, for nobody else, on a meet-up; return the meetup. Empty removes it."""
        return await _MEETUP.call(
            self._database,
            "update_meetup_notes",
            p_meetup_id=meetup_id,
            p_user_id=user_id,
            p_notes=notes,
            p_request_id=request_id,
        )

    async def get_meetup(self, meetup_id: str, user_id: str) -> Meetup:
        """Return a meetup as one of its people sees it."""
        return await _MEETUP.call(self._database, "get_meetup", p_meetup_id=meetup_id, p_user_id=user_id)

    async def list_meetups(
        self,
        user_id: str,
        *,
        states: Sequence[str] | None = None,
        match_id: str | None = None,
        page_size: int = 20,
        after: Position | None = None,
    ) -> MeetupPage:
        """Return a person's meetups in `states`, or all, the latest first, behind the position `after`."""
        return await _MEETUPS.call(
            self._database,
            "list_meetups",
            p_user_id=user_id,
            p_states=states,
            p_match_id=match_id,
            p_page_size=page_size,
            p_position=after,
        )

    async def expire_meetups(self, *, limit: int = 100) -> int:
        """Mark at most `limit` meet-ups expired of which nobody told in a week how they went; return how many.

        Any number of processes may do so at once. Until it happens such meet-ups are read as expired all the same.
        """
        return await _EXPIRED.call(self._database, "expire_meetups", p_limit=limit)
