"""MeetupService: translates between the wire and the store."""

from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from wingmanmatch.meetup.v1 import meetup_pb2, meetup_service_pb2
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.meetup.rows import Meetup
from wingmanmatch_server.meetup.store import MeetupStore
from wingmanmatch_server.paging import PageTokens
from wingmanmatch_server.wire import short_names, timestamp

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
STATE = "MEETUP_STATE_"
STATES = short_names(meetup_pb2.MeetupState.items(), STATE)


class MeetupService:
    """Each method is the RPC of its name; `meetup_service.proto` has the contract."""

    def __init__(self, store: MeetupStore, pages: PageTokens) -> None:
        self._store = store
        self._pages = pages

    async def schedule_meetup(
        self, request: meetup_service_pb2.ScheduleMeetupRequest, _call: Call
    ) -> meetup_service_pb2.ScheduleMeetupResponse:
        """Schedule a meet-up of an accepted match."""
        meetup = await self._store.schedule_meetup(
            request.match_id,
            request.user_id,
            venue_name=request.venue_name,
            scheduled_time=_written(request.scheduled_time),
            requester_challenge_id=request.requester_challenge_id or None,
            invitee_challenge_id=request.invitee_challenge_id or None,
            request_id=request.request_id or None,
        )
        return meetup_service_pb2.ScheduleMeetupResponse(meetup=_message(meetup))

    async def get_meetup(
        self, request: meetup_service_pb2.GetMeetupRequest, _call: Call
    ) -> meetup_service_pb2.GetMeetupResponse:
        """Return a meet-up."""
        meetup = await self._store.get_meetup(request.meetup_id, request.user_id)
        return meetup_service_pb2.GetMeetupResponse(meetup=_message(meetup))

    async def list_meetups(
        self, request: meetup_service_pb2.ListMeetupsRequest, _call: Call
    ) -> meetup_service_pb2.ListMeetupsResponse:
        """List a person's meet-ups."""
        states = sorted(meetup_pb2.MeetupState.Name(state).removeprefix(STATE) for state in request.states)
        asked = ("ListMeetups", request.user_id.lower(), states, request.match_id.lower())
        page = await self._store.list_meetups(
            request.user_id,
            states=states or None,
            match_id=request.match_id or None,
            page_size=min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE),
            after=self._pages.open(request.page_token, *asked),
        )
        return meetup_service_pb2.ListMeetupsResponse(
            meetups=[_message(meetup) for meetup in page.meetups],
            next_page_token=self._pages.seal(page.next_position, *asked),
        )

    async def reschedule_meetup(
        self, request: meetup_service_pb2.RescheduleMeetupRequest, _call: Call
    ) -> meetup_service_pb2.RescheduleMeetupResponse:
        """Move a meet-up to another time or place."""
        meetup = await self._store.reschedule_meetup(
            request.meetup_id,
            request.user_id,
            scheduled_time=_written(request.scheduled_time) if request.HasField("scheduled_time") else None,
            venue_name=request.venue_name or None,
            request_id=request.request_id or None,
        )
        return meetup_service_pb2.RescheduleMeetupResponse(meetup=_message(meetup))

    async def cancel_meetup(
        self, request: meetup_service_pb2.CancelMeetupRequest, _call: Call
    ) -> meetup_service_pb2.CancelMeetupResponse:
        """Call a meet-up off."""
        meetup = await self._store.cancel_meetup(
            request.meetup_id, request.user_id, request_id=request.request_id or None
        )
        return meetup_service_pb2.CancelMeetupResponse(meetup=_message(meetup))

    async def confirm_meetup(
        self, request: meetup_service_pb2.ConfirmMeetupRequest, _call: Call
    ) -> meetup_service_pb2.ConfirmMeetupResponse:
        """Confirm that the other person was there."""
        meetup = await self._store.confirm_meetup(
            request.meetup_id, request.user_id, request_id=request.request_id or None
        )
        return meetup_service_pb2.ConfirmMeetupResponse(meetup=_message(meetup))

    async def report_no_show(
        self, request: meetup_service_pb2.ReportNoShowRequest, _call: Call
    ) -> meetup_service_pb2.ReportNoShowResponse:
        """Report that the other person was missing."""
        meetup = await self._store.report_no_show(
            request.meetup_id, request.user_id, request_id=request.request_id or None
        )
        return meetup_service_pb2.ReportNoShowResponse(meetup=_message(meetup))

    async def update_meetup_notes(
        self, request: meetup_service_pb2.UpdateMeetupNotesRequest, _call: Call
    ) -> meetup_service_pb2.UpdateMeetupNotesResponse:
        """Replace a person's own notes."""
        meetup = await self._store.update_meetup_notes(
            request.meetup_id, request.user_id, request.notes, request_id=request.request_id or None
        )
        return meetup_service_pb2.UpdateMeetupNotesResponse(meetup=_message(meetup))


def _written(moment: Timestamp) -> str:
    return moment.ToDatetime(tzinfo=UTC).isoformat()


def _message(meetup: Meetup) -> meetup_pb2.Meetup:
    return meetup_pb2.Meetup(
        id=meetup.id,
        match_id=meetup.match_id,
        requester_id=meetup.requester_id,
        invitee_id=meetup.invitee_id,
        state=STATES[meetup.state],
        venue_name=meetup.venue_name,
        scheduled_time=timestamp(meetup.scheduled_time),
        requester_challenge_id=meetup.requester_challenge_id or "",
        invitee_challenge_id=meetup.invitee_challenge_id or "",
        requester_confirm_time=timestamp(meetup.requester_confirm_time),
        invitee_confirm_time=timestamp(meetup.invitee_confirm_time),
        no_show_user_ids=meetup.no_show_user_ids,
        notes=meetup.notes,
        create_time=timestamp(meetup.create_time),
        update_time=timestamp(meetup.update_time),
        expire_time=timestamp(meetup.expire_time),
    )
