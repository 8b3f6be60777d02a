"""The main job as callers use it: profile, candidates, invitation, answer, mails."""

import asyncio
import email
import email.policy
import uuid
from pathlib import Path

import grpc

from support.edge import failure_of
from support.requests import TIMEOUT, invite, join, join_pair, profile
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2


async def test_profile_is_returned_as_stored_without_its_place(client: Stubs) -> None:
    """What was sent comes back with defaults filled in, and the coordinates never do."""
    sent = profile()
    answer = await client.matching.UpsertProfile(
        matching_service_pb2.UpsertProfileRequest(profile=sent), timeout=TIMEOUT
    )
    request = matching_service_pb2.GetProfileRequest(user_id=sent.user_id)
    stored = (await client.matching.GetProfile(request, timeout=TIMEOUT)).profile
    expected = matching_pb2.Profile()
    expected.CopyFrom(sent)
    expected.ClearField("location")
    expected.MergeFrom(
        matching_pb2.Profile(
            location_privacy=matching_pb2.LOCATION_PRIVACY_APPROXIMATE,
            max_travel_miles=20,
            active=True,
            create_time=stored.create_time,
            update_time=stored.update_time,
        )
    )
    assert stored == answer.profile == expected
    assert stored.create_time.ToSeconds() > 0


async def test_profile_keeps_its_place_when_none_is_sent(client: Stubs) -> None:
    """A later upsert without a location changes everything else."""
    first, second = await join_pair(client)
    changed = profile(user_id=first, first_name="Alex")
    changed.ClearField("location")
    await client.matching.UpsertProfile(matching_service_pb2.UpsertProfileRequest(profile=changed), timeout=TIMEOUT)
    request = matching_service_pb2.ListCandidatesRequest(user_id=second)
    (candidate,) = (await client.matching.ListCandidates(request, timeout=TIMEOUT)).candidates
    assert (candidate.user_id, candidate.first_name) == (first, "Alex")


async def test_candidates_come_in_pages(client: Stubs) -> None:
    """Pages joined are the whole list, nearest first, and the last page has no token."""
    me = await join(client)
    for step in range(5):
        place = {"latitude": me.location.latitude + (5 - step) * 0.04, "longitude": me.location.longitude}
        await join(client, location=place)
    request = matching_service_pb2.ListCandidatesRequest(user_id=me.user_id, page_size=2)
    distances, pages = [], 0
    while pages == 0 or request.page_token:
        page = await client.matching.ListCandidates(request, timeout=TIMEOUT)
        distances += [candidate.distance_miles for candidate in page.candidates]
        request.page_token, pages = page.next_page_token, pages + 1
    assert pages == 3
    assert len(distances) == 5
    assert distances == sorted(distances)
    # 0.04 degrees are 2.8 miles, and each of the two stand-ins is less than a mile from its person.
    assert 1 <= distances[0] <= 5
    assert all(distance.is_integer() for distance in distances)


async def test_invitation_and_acceptance_reach_their_readers(client: Stubs, data_dir: Path) -> None:
    """The invited person's mail lies in the outbox, and after the acceptance the requester's does."""
    requester, invitee = await join_pair(client)
    match = await invite(client, requester, invitee, venue_suggestion="the old <b>library</b>", message="Hello!")
    invitation = await mail_about(data_dir, "match_invitation")
    request = matching_service_pb2.RespondToMatchRequest(
        match_id=match.id, user_id=invitee, response=matching_pb2.MATCH_RESPONSE_ACCEPT
    )
    answer = await client.matching.RespondToMatch(request, timeout=TIMEOUT)
    acceptance = await mail_about(data_dir, "match_acceptance")
    assert (match.state, match.requester_id, match.invitee_id) == (
        matching_pb2.MATCH_STATE_PENDING,
        requester,
        invitee,
    )
    assert match.expire_time.ToSeconds() - match.create_time.ToSeconds() == 72 * 3600
    assert answer.match.state == matching_pb2.MATCH_STATE_ACCEPTED
    assert answer.match.HasField("respond_time")
    assert "library" in invitation.get_body(("plain",)).get_content()
    assert "<b>library" not in invitation.get_body(("html",)).get_content()
    assert "Sam" in acceptance["Subject"]


async def mail_about(data_dir: Path, kind: str) -> email.message.EmailMessage:
    """Wait until a mail of a kind lies in the outbox and return it."""
    outbox = data_dir / "outbox"
    async with asyncio.timeout(10):
        while not (paths := [path for path in outbox.glob("*.eml") if kind in path.name.lower().replace("-", "_")]):
            await asyncio.sleep(0.02)
    message = email.message_from_bytes(paths[0].read_bytes(), email.message.EmailMessage, policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    return message


async def test_decline_can_ask_for_the_next(client: Stubs) -> None:
    """Who declines with find_next has invited the nearest other person by the same call."""
    requester, invitee = await join_pair(client)
    place = (
        await client.matching.ListCandidates(
            matching_service_pb2.ListCandidatesRequest(user_id=invitee), timeout=TIMEOUT
        )
    ).candidates
    assert [candidate.user_id for candidate in place] == [requester]
    match = await invite(client, requester, invitee)
    request = matching_service_pb2.RespondToMatchRequest(
        match_id=match.id, user_id=invitee, response=matching_pb2.MATCH_RESPONSE_DECLINE, find_next=True
    )
    answer = await client.matching.RespondToMatch(request, timeout=TIMEOUT)
    assert answer.match.state == matching_pb2.MATCH_STATE_DECLINED
    assert not answer.HasField("next_match")


async def test_matches_are_listed_newest_first_and_by_state(client: Stubs) -> None:
    """The list shows a person's matches of the states asked for, and only to them."""
    first, second = await join_pair(client)
    match = await invite(client, first, second)
    cancel = matching_service_pb2.CancelMatchRequest(match_id=match.id, user_id=first)
    cancelled = (await client.matching.CancelMatch(cancel, timeout=TIMEOUT)).match
    states = [matching_pb2.MATCH_STATE_CANCELLED]
    for viewer, expected in ((first, [cancelled]), (second, [cancelled]), (str(uuid.uuid4()), [])):
        request = matching_service_pb2.ListMatchesRequest(user_id=viewer, states=states)
        assert list((await client.matching.ListMatches(request, timeout=TIMEOUT)).matches) == expected
    request = matching_service_pb2.ListMatchesRequest(user_id=first, states=[matching_pb2.MATCH_STATE_PENDING])
    assert not (await client.matching.ListMatches(request, timeout=TIMEOUT)).matches


async def test_repeated_request_id_returns_the_first_answer(client: Stubs) -> None:
    """A retry with the same request_id and body changes nothing; with another body it is refused."""
    requester, invitee = await join_pair(client)
    request = matching_service_pb2.RequestMatchRequest(user_id=requester, request_id=str(uuid.uuid4()))
    first = await client.matching.RequestMatch(request, timeout=TIMEOUT)
    again = await client.matching.RequestMatch(request, timeout=TIMEOUT)
    request.venue_suggestion = "elsewhere"
    failure = await failure_of(client.matching.RequestMatch(request, timeout=TIMEOUT))
    assert first == again
    assert first.match.invitee_id == invitee
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert failure.violations == {"request_id": "REQUEST_ID_REUSED"}


async def test_both_asking_makes_one_accepted_match(client: Stubs) -> None:
    """A named request in the opposite direction accepts the invitation."""
    first, second = await join_pair(client)
    invitation = await invite(client, first, second)
    accepted = await invite(client, second, first)
    assert (accepted.id, accepted.state) == (invitation.id, matching_pb2.MATCH_STATE_ACCEPTED)
