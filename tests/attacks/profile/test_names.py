"""Names and places that are read in emails of ours, and say what we would never say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from support.credentials import KEY, bearer, user_token
from support.edge import failure_of
from support.requests import TIMEOUT, profile
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2
from wingmanmatch.notification.v1 import notification_service_pb2

URL = "http://evil.example/?a=1"
NAMES = {
    "link": URL,
    "sentence with a link": f"Account locked {URL}",
    "domain": "evil.example",
    "only zero-width": "\u200b\u200c\u200d",
    "mark-up": "<b>",
    "turned around": "\u202eelpmaxe",
    "our name": "WingmanMatch",
    "our name in Cyrillic": "Wіngmаn Mаtch",  # noqa: RUF001
    "our name with a stroke": "Wɨngman",
    "our name in small capitals": "ᴡɪɴɢᴍᴀɴ",
    "our staff, numbered": "Support2",
    "our staff in German": "Kundenservice",
    "domain behind an apostrophe": "evil.com'x",
    "domain with marks": "evil.भारत",
    "our name in Greek": "Wιngmαn",  # noqa: RUF001
    "our name spaced out": "W i n g m a n   M a t c h",
    "our name in digits": "W1ngm4n M4tch",
    "our support": "Wingman Match Support",
    "administrator": "Аdmin",  # noqa: RUF001
    "team": "Support Team",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_name_that_is_none(target: Any, name: str) -> None:
    """It is refused for the field, whoever calls, and nothing is stored."""
    person = profile(first_name=name, email="eve@example.org")
    for call in (target.upsert(person), target.upsert_as_user(person, email="eve@example.org")):
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert list(failure.violations) == ["profile.first_name"]
        assert "evil" not in failure.message
    assert await target.stored(person.user_id) is None


async def test_link_as_a_place(target: Any) -> None:
    """Neither an invitation nor a meetup can name an address of a web page as the place, at first or later."""
    matching, meetups = target.client.matching, target.client.meetup
    eve, ann = profile(email="eve@example.org"), profile(email="ann@example.org")
    ann.location.CopyFrom(eve.location)
    await target.upsert(eve)
    await target.upsert(ann)
    as_eve, as_ann = ({"timeout": TIMEOUT, "metadata": bearer(user_token(each.user_id))} for each in (eve, ann))

    request = matching_service_pb2.RequestMatchRequest(user_id=eve.user_id, candidate_user_id=ann.user_id)
    request.venue_suggestion = URL
    assert list((await failure_of(matching.RequestMatch(request, **as_eve))).violations) == ["venue_suggestion"]
    request.venue_suggestion = "Prater"
    match = (await matching.RequestMatch(request, **as_eve)).match
    answer = matching_service_pb2.RespondToMatchRequest(
        match_id=match.id, user_id=ann.user_id, response=matching_pb2.MATCH_RESPONSE_ACCEPT
    )
    await matching.RespondToMatch(answer, **as_ann)

    schedule = meetup_service_pb2.ScheduleMeetupRequest(match_id=match.id, user_id=eve.user_id, venue_name=URL)
    schedule.scheduled_time.FromDatetime(datetime.now(UTC) + timedelta(days=3))
    assert list((await failure_of(meetups.ScheduleMeetup(schedule, **as_eve))).violations) == ["venue_name"]
    schedule.venue_name = "Prater"
    meetup = (await meetups.ScheduleMeetup(schedule, **as_eve)).meetup
    move = meetup_service_pb2.RescheduleMeetupRequest(meetup_id=meetup.id, user_id=eve.user_id, venue_name=URL)
    assert list((await failure_of(meetups.RescheduleMeetup(move, **as_eve))).violations) == ["venue_name"]


@pytest.mark.parametrize(
    "field", ["match_invitation.inviter_name", "match_invitation.venue_suggestion", "recipient_name"]
)
async def test_link_by_way_of_a_back_end(target: Any, field: str) -> None:
    """A back end that passes on what a user typed sends no link in the place of a name."""
    request = notification_service_pb2.SendNotificationRequest(
        recipient_email="ann@example.org", match_invitation={"inviter_name": "Ben"}
    )
    owner, _, name = field.rpartition(".")
    setattr(getattr(request, owner) if owner else request, name, "evil.example")
    call = target.client.notification.SendNotification(request, timeout=TIMEOUT, metadata=bearer(KEY))
    assert list((await failure_of(call)).violations) == [field]
