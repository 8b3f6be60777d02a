"""Lists that change while somebody turns their pages."""

from datetime import UTC, datetime, timedelta

from support.requests import TIMEOUT, invite, join_pair
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2

ACCEPT = matching_pb2.MATCH_RESPONSE_ACCEPT
HOUR = timedelta(hours=1)


async def accepted_match(client: Stubs) -> matching_pb2.Match:
    """Return an accepted match of two new people."""
    requester, invitee = await join_pair(client)
    match = await invite(client, requester, invitee)
    answer = matching_service_pb2.RespondToMatchRequest(match_id=match.id, user_id=invitee, response=ACCEPT)
    return (await client.matching.RespondToMatch(answer, timeout=TIMEOUT)).match


async def scheduled(client: Stubs, match: matching_pb2.Match, hours: float, *, cancelled: bool = True) -> str:
    """Schedule a meetup of a match so many hours ahead, and cancel it, since a match has one at a time."""
    request = meetup_service_pb2.ScheduleMeetupRequest(
        match_id=match.id,
        user_id=match.requester_id,
        venue_name="Prater",
        scheduled_time=datetime.now(UTC) + hours * HOUR,
    )
    meetup = (await client.meetup.ScheduleMeetup(request, timeout=TIMEOUT)).meetup
    if cancelled:
        cancel = meetup_service_pb2.CancelMeetupRequest(meetup_id=meetup.id, user_id=match.requester_id)
        await client.meetup.CancelMeetup(cancel, timeout=TIMEOUT)
    return meetup.id


async def test_meetup_on_a_page_is_rescheduled(client: Stubs) -> None:
    """The last meetup of a page that was shown moves far back: the next page has all that were not shown."""
    match = await accepted_match(client)
    earlier = [await scheduled(client, match, hours) for hours in (60, 50, 40)]
    latest = await scheduled(client, match, 80)
    live = await scheduled(client, match, 70, cancelled=False)
    request = meetup_service_pb2.ListMeetupsRequest(user_id=match.invitee_id, page_size=2)
    page = await client.meetup.ListMeetups(request, timeout=TIMEOUT)
    assert [each.id for each in page.meetups] == [latest, live]
    move = meetup_service_pb2.RescheduleMeetupRequest(
        meetup_id=live, user_id=match.requester_id, scheduled_time=datetime.now(UTC) + 20 * HOUR
    )
    await client.meetup.RescheduleMeetup(move, timeout=TIMEOUT)
    rest = meetup_service_pb2.ListMeetupsRequest(user_id=match.invitee_id, page_token=page.next_page_token)
    assert [each.id for each in (await client.meetup.ListMeetups(rest, timeout=TIMEOUT)).meetups] == [*earlier, live]
