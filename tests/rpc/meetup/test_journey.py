"""Meet-ups as callers use them: agreed, moved, reminded of, confirmed; and what is left when people part."""

import asyncio
import email
import email.policy
import uuid
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from support.edge import failure_of
from support.requests import TIMEOUT, invite, join_pair
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_pb2, meetup_service_pb2
from wingmanmatch_server.demo.clock import Clock

HOUR = timedelta(hours=1)


class Pair:
    """Two people whose match is accepted."""

    def __init__(self, client: Stubs, requester: str, invitee: str, match_id: str) -> None:
        self.client = client
        self.requester = requester
        self.invitee = invitee
        self.match_id = match_id

    async def schedule(self, *, ahead: timedelta = 72 * HOUR, **fields: Any) -> meetup_pb2.Meetup:
        """Let the requester schedule a meet-up."""
        given: dict[str, Any] = {
            "match_id": self.match_id,
            "user_id": self.requester,
            "venue_name": "Prater",
            "scheduled_time": datetime.now(UTC) + ahead,
        }
        request = meetup_service_pb2.ScheduleMeetupRequest(**given | fields)
        return (await self.client.meetup.ScheduleMeetup(request, timeout=TIMEOUT)).meetup

    async def confirm(self, meetup_id: str, user_id: str) -> meetup_pb2.Meetup:
        """Let one confirm the other."""
        request = meetup_service_pb2.ConfirmMeetupRequest(meetup_id=meetup_id, user_id=user_id)
        return (await self.client.meetup.ConfirmMeetup(request, timeout=TIMEOUT)).meetup

    async def reputation(self, user_id: str) -> matching_pb2.Reputation:
        """Return somebody's reputation."""
        request = matching_service_pb2.GetReputationRequest(user_id=user_id)
        return (await self.client.matching.GetReputation(request, timeout=TIMEOUT)).reputation

    async def events(self, token: str, count: int) -> list[matching_pb2.MatchEvent]:
        """Return what the invitee is told after a moment."""
        request = matching_service_pb2.WatchMatchesRequest(user_id=self.invitee, resume_token=token)
        call = self.client.matching.WatchMatches(request, timeout=TIMEOUT)
        events: list[matching_pb2.MatchEvent] = []
        while len(events) < count:
            message = await call.read()
            assert message is not grpc.aio.EOF
            if message.HasField("event"):
                events.append(message.event)
        call.cancel()
        return events

    async def moment(self) -> str:
        """Return the token of now."""
        request = matching_service_pb2.WatchMatchesRequest(user_id=self.invitee)
        call = self.client.matching.WatchMatches(request, timeout=TIMEOUT)
        message = await call.read()
        call.cancel()
        return str(message.resume_token)


@pytest.fixture
async def pair(client: Stubs) -> Pair:
    """Two new people, far from all others."""
    requester, invitee = await join_pair(client)
    match = await invite(client, requester, invitee)
    await invite(client, invitee, requester)
    return Pair(client, requester, invitee, match.id)


async def mails(
    data_dir: Path, sql: asyncpg.Connection, meetup_id: str, sequence: int, kind: str
) -> list[EmailMessage]:
    """Return what is due of a kind of mails about a version of a meet-up, once all of it lies in the outbox."""
    rows = await sql.fetch(
        """select id::text from notifications where payload ->> 'meetup_id' = $1
            and (payload ->> 'sequence')::integer = $2 and kind = $3 and send_time <= now() order by send_time""",
        *(meetup_id, sequence, kind),
    )
    async with asyncio.timeout(TIMEOUT):
        while not all(found := [list((data_dir / "outbox").glob(f"*{row['id']}.eml")) for row in rows]):
            await asyncio.sleep(0.02)
    return [email.message_from_bytes(path.read_bytes(), EmailMessage, policy=email.policy.default) for (path,) in found]


async def fall_due(sql: asyncpg.Connection, meetup_id: str) -> None:
    """Let the two minutes be over for which emails about a change of a meetup wait for others."""
    await sql.execute(
        """update notifications set send_time = now(), next_attempt_time = now()
            where payload ->> 'meetup_id' = $1 and state = 'PENDING' and kind <> 'SESSION_REMINDER'""",
        meetup_id,
    )
    await sql.execute("select pg_notify('notifications', '')")


def entry_of(message: EmailMessage) -> str:
    """Return the calendar entry that came with a mail."""
    (entry,) = [part for part in message.iter_attachments() if part.get_content_type() == "text/calendar"]
    return str(entry.get_content())


async def test_from_agreement_to_reputation(client: Stubs, pair: Pair, sql: asyncpg.Connection, data_dir: Path) -> None:
    """Calendar entries and reminders reach both people's mail, the confirmations complete it, and others see it."""
    token = await pair.moment()
    meetup = await pair.schedule()
    assert meetup.state == meetup_pb2.MEETUP_STATE_SCHEDULED
    assert meetup.expire_time.ToDatetime() - meetup.scheduled_time.ToDatetime() == timedelta(days=7)
    await fall_due(sql, meetup.id)
    scheduled = await mails(data_dir, sql, meetup.id, 0, "MEETUP_SCHEDULED")
    assert [entry_of(mail).count("SEQUENCE:0") for mail in scheduled] == [1, 1]

    move = meetup_service_pb2.RescheduleMeetupRequest(
        meetup_id=meetup.id, user_id=pair.invitee, scheduled_time=datetime.now(UTC) + 80 * HOUR, venue_name="Augarten"
    )
    meetup = (await client.meetup.RescheduleMeetup(move, timeout=TIMEOUT)).meetup
    await fall_due(sql, meetup.id)
    moved = await mails(data_dir, sql, meetup.id, 1, "MEETUP_MOVED")
    assert [entry_of(mail).count("SEQUENCE:1") for mail in moved] == [1, 1]
    assert all("LOCATION:Augarten" in entry_of(mail) for mail in moved)

    clock = Clock(sql, [pair.requester, pair.invitee])
    for hours, reminders in ((24, 2), (2, 4)):
        await clock.forward_to(meetup.scheduled_time.ToDatetime(tzinfo=UTC) - hours * HOUR)
        assert len(await mails(data_dir, sql, meetup.id, 1, "SESSION_REMINDER")) == reminders
    await clock.forward(3 * HOUR)
    assert (await pair.confirm(meetup.id, pair.requester)).state == meetup_pb2.MEETUP_STATE_SCHEDULED
    completed = await pair.confirm(meetup.id, pair.invitee)
    assert completed.state == meetup_pb2.MEETUP_STATE_COMPLETED
    assert completed.HasField("requester_confirm_time")
    reputation = await pair.reputation(pair.requester)
    assert (reputation.score, reputation.badge) == (1, matching_pb2.REPUTATION_BADGE_GREEN)
    assert (reputation.completed_count, reputation.no_show_count) == (1, 0)
    events = await pair.events(token, 3)
    assert [event.kind for event in events] == [
        matching_pb2.MATCH_EVENT_KIND_MEETUP_SCHEDULED,
        matching_pb2.MATCH_EVENT_KIND_MEETUP_RESCHEDULED,
        matching_pb2.MATCH_EVENT_KIND_MEETUP_COMPLETED,
    ]
    assert {event.meetup_id for event in events} == {meetup.id}
    assert {event.match.id for event in events} == {pair.match_id}


async def test_no_show(client: Stubs, pair: Pair, sql: asyncpg.Connection) -> None:
    """Others see that somebody was reported missing, and what it cost."""
    meetup = await pair.schedule(ahead=HOUR)
    await Clock(sql, [pair.requester, pair.invitee]).forward(2 * HOUR)
    report = meetup_service_pb2.ReportNoShowRequest(meetup_id=meetup.id, user_id=pair.requester)
    missed = (await client.meetup.ReportNoShow(report, timeout=TIMEOUT)).meetup
    assert (missed.state, list(missed.no_show_user_ids)) == (meetup_pb2.MEETUP_STATE_MISSED, [pair.invitee])
    reputation = await pair.reputation(pair.invitee)
    assert (reputation.score, reputation.badge) == (-1, matching_pb2.REPUTATION_BADGE_RED)
    assert (reputation.completed_count, reputation.no_show_count) == (0, 1)


async def test_cancelled(client: Stubs, pair: Pair, sql: asyncpg.Connection, data_dir: Path) -> None:
    """Both get a mail that takes the entry out of their calendars."""
    meetup = await pair.schedule()
    await fall_due(sql, meetup.id)
    assert len(await mails(data_dir, sql, meetup.id, 0, "MEETUP_SCHEDULED")) == 2
    request = meetup_service_pb2.CancelMeetupRequest(meetup_id=meetup.id, user_id=pair.invitee)
    cancelled = (await client.meetup.CancelMeetup(request, timeout=TIMEOUT)).meetup
    assert cancelled.state == meetup_pb2.MEETUP_STATE_CANCELLED
    await fall_due(sql, meetup.id)
    found = await mails(data_dir, sql, meetup.id, 1, "MEETUP_CANCELLED")
    assert ["METHOD:CANCEL" in entry_of(mail) for mail in found] == [True, True]


async def test_ending_the_match(client: Stubs, pair: Pair) -> None:
    """It ends with its meet-up, and who watches is told of both."""
    token = await pair.moment()
    meetup = await pair.schedule()
    end = matching_service_pb2.EndMatchRequest(match_id=pair.match_id, user_id=pair.requester)
    assert (await client.matching.EndMatch(end, timeout=TIMEOUT)).match.state == matching_pb2.MATCH_STATE_ENDED
    get = meetup_service_pb2.GetMeetupRequest(meetup_id=meetup.id, user_id=pair.invitee)
    assert (await client.meetup.GetMeetup(get, timeout=TIMEOUT)).meetup.state == meetup_pb2.MEETUP_STATE_CANCELLED
    assert [event.kind for event in await pair.events(token, 3)] == [
        matching_pb2.MATCH_EVENT_KIND_MEETUP_SCHEDULED,
        matching_pb2.MATCH_EVENT_KIND_MEETUP_CANCELLED,
        matching_pb2.MATCH_EVENT_KIND_ENDED,
    ]


async def test_blocked_people_do_not_see_one_another(client: Stubs) -> None:
    """A block hides both from one another's candidates; taken back, they are shown again."""
    first, second = await join_pair(client)

    async def seen() -> list[list[str]]:
        pages = [
            await client.matching.ListCandidates(
                matching_service_pb2.ListCandidatesRequest(user_id=person), timeout=TIMEOUT
            )
            for person in (first, second)
        ]
        return [[candidate.user_id for candidate in page.candidates] for page in pages]

    assert await seen() == [[second], [first]]
    block = matching_service_pb2.BlockUserRequest(user_id=first, blocked_user_id=second, request_id=str(uuid.uuid4()))
    for _ in range(2):
        await client.matching.BlockUser(block, timeout=TIMEOUT)
    assert await seen() == [[], []]
    unblock = matching_service_pb2.UnblockUserRequest(user_id=first, blocked_user_id=second)
    await client.matching.UnblockUser(unblock, timeout=TIMEOUT)
    assert await seen() == [[second], [first]]


async def test_notes_and_pages(client: Stubs, pair: Pair) -> None:
    """Notes are their writer's alone, and pages joined are the list, for the arguments they were made for."""
    for hours in (5, 6, 7):
        meetup = await pair.schedule(ahead=hours * HOUR)
        note = meetup_service_pb2.UpdateMeetupNotesRequest(meetup_id=meetup.id, user_id=pair.invitee, notes="Smile.")
        assert (await client.meetup.UpdateMeetupNotes(note, timeout=TIMEOUT)).meetup.notes == "Smile."
        cancel = meetup_service_pb2.CancelMeetupRequest(meetup_id=meetup.id, user_id=pair.requester)
        assert (await client.meetup.CancelMeetup(cancel, timeout=TIMEOUT)).meetup.notes == ""
    request = meetup_service_pb2.ListMeetupsRequest(
        user_id=pair.invitee, states=[meetup_pb2.MEETUP_STATE_CANCELLED], match_id=pair.match_id, page_size=2
    )
    first = await client.meetup.ListMeetups(request, timeout=TIMEOUT)
    request.page_token = first.next_page_token
    second = await client.meetup.ListMeetups(request, timeout=TIMEOUT)
    listed = [*first.meetups, *second.meetups]
    assert (len(first.meetups), len(listed), second.next_page_token) == (2, 3, "")
    assert [each.scheduled_time.seconds for each in listed] == sorted(
        (each.scheduled_time.seconds for each in listed), reverse=True
    )
    assert {each.notes for each in listed} == {"Smile."}
    request.ClearField("states")
    failure = await failure_of(client.meetup.ListMeetups(request, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_repeated_request_id_returns_the_first_answer(client: Stubs, pair: Pair) -> None:
    """A retry changes nothing; another body is refused."""
    request = meetup_service_pb2.ScheduleMeetupRequest(
        match_id=pair.match_id,
        user_id=pair.requester,
        venue_name="Prater",
        scheduled_time=datetime.now(UTC) + HOUR,
        request_id=str(uuid.uuid4()),
    )
    first = await client.meetup.ScheduleMeetup(request, timeout=TIMEOUT)
    assert await client.meetup.ScheduleMeetup(request, timeout=TIMEOUT) == first
    request.venue_name = "Augarten"
    failure = await failure_of(client.meetup.ScheduleMeetup(request, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_refusals_carry_code_reason_and_metadata(client: Stubs, pair: Pair) -> None:
    """What a caller branches on."""
    meetup = await pair.schedule()
    failure = await failure_of(pair.schedule())
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEETUP_EXISTS")
    assert failure.metadata == {"meetup_id": meetup.id}
    failure = await failure_of(pair.schedule(scheduled_time=datetime.now(UTC) - HOUR))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MEETUP_TIME_PAST")
    assert failure.violations == {"scheduled_time": "MEETUP_TIME_PAST"}
    failure = await failure_of(pair.schedule(user_id=str(uuid.uuid4())))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MATCH_NOT_FOUND")
    failure = await failure_of(pair.schedule(invitee_challenge_id=str(uuid.uuid4())))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CHALLENGE_NOT_FOUND")
    failure = await failure_of(pair.confirm(meetup.id, pair.invitee))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEETUP_NOT_STARTED")
    failure = await failure_of(pair.confirm(meetup.id, str(uuid.uuid4())))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MEETUP_NOT_FOUND")
    failure = await failure_of(pair.reputation(str(uuid.uuid4())))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND")
    myself = matching_service_pb2.BlockUserRequest(user_id=pair.invitee, blocked_user_id=pair.invitee)
    failure = await failure_of(client.matching.BlockUser(myself, timeout=TIMEOUT))
    assert (failure.code, failure.violations) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        {"blocked_user_id": "FIELD_INVALID"},
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"match_id": "42"}, "match_id"),
        ({"venue_name": ""}, "venue_name"),
        ({"venue_name": "two\nlines"}, "venue_name"),
        ({"venue_name": "x" * 201}, "venue_name"),
        ({"scheduled_time": None}, "scheduled_time"),
        ({"scheduled_time": datetime(2999, 1, 1, tzinfo=UTC)}, "scheduled_time"),
        ({"requester_challenge_id": "first"}, "requester_challenge_id"),
        ({"request_id": "again"}, "request_id"),
    ],
)
async def test_bad_input_names_its_field(pair: Pair, fields: dict[str, Any], field: str) -> None:
    """Nothing that breaks a rule of the proto gets as far as the database."""
    failure = await failure_of(pair.schedule(**fields))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(failure.violations) == [field]


async def test_move_of_nothing_is_refused(client: Stubs, pair: Pair) -> None:
    """A time, a place or both must be given."""
    meetup = await pair.schedule()
    request = meetup_service_pb2.RescheduleMeetupRequest(meetup_id=meetup.id, user_id=pair.requester)
    failure = await failure_of(client.meetup.RescheduleMeetup(request, timeout=TIMEOUT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
