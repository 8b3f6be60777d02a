"""Bad input: the right code, a stable reason, the field's name, and nothing changed."""

import math
import uuid
from typing import Any

import grpc
import pytest

from support.edge import failure_of
from support.requests import TIMEOUT, invite, join, join_pair, profile
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2

SOMEBODY = "00000000-0000-4000-8000-000000000001"

PROFILES: dict[str, tuple[dict[str, Any], str]] = {
    "malformed user id": ({"user_id": "42"}, "profile.user_id"),
    "no user id": ({"user_id": ""}, "profile.user_id"),
    "latitude above 90": ({"location": {"latitude": 90.01, "longitude": 0}}, "profile.location"),
    "longitude below -180": ({"location": {"latitude": 0, "longitude": -180.01}}, "profile.location"),
    "latitude that is no number": ({"location": {"latitude": math.nan, "longitude": 0}}, "profile.location"),
    "longitude without end": ({"location": {"latitude": 0, "longitude": math.inf}}, "profile.location"),
    "e-mail with a line break": ({"email": "a@example.org\nBcc: b@example.org"}, "profile.email"),
    "e-mail without a domain": ({"email": "nobody"}, "profile.email"),
    "name with a line break": ({"first_name": "Sam\r\nX: y"}, "profile.first_name"),
    "no name": ({"first_name": ""}, "profile.first_name"),
    "a megabyte of bio": ({"bio": "x" * 1_000_000}, "profile.bio"),
    "bio with a NUL": ({"bio": "a\0b"}, "profile.bio"),
    "picture by http": ({"photo_url": "http://example.org/a.jpg"}, "profile.photo_url"),
    "level of no meaning": ({"experience_level": 9}, "profile.experience_level"),
    "no archetype": ({"confidence_archetype": 0}, "profile.confidence_archetype"),
    "travels too far": ({"max_travel_miles": 501}, "profile.max_travel_miles"),
    "zone of no planet": ({"time_zone": "Mars/Olympus_Mons"}, "profile.time_zone"),
    "locale of no form": ({"locale": "english please"}, "profile.locale"),
}


@pytest.mark.parametrize(("changes", "field"), PROFILES.values(), ids=PROFILES)
async def test_bad_profile_names_its_field(client: Stubs, changes: dict[str, Any], field: str) -> None:
    """The field at fault is named, and the profile that was there stays as it was."""
    good = await join(client)
    request = matching_service_pb2.GetProfileRequest(user_id=good.user_id)
    before = await client.matching.GetProfile(request, timeout=TIMEOUT)
    bad = profile(**{"user_id": good.user_id} | changes)
    upsert = matching_service_pb2.UpsertProfileRequest(profile=bad)
    failure = await failure_of(client.matching.UpsertProfile(upsert, timeout=TIMEOUT))
    after = await client.matching.GetProfile(request, timeout=TIMEOUT)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(failure.violations) == [field]
    assert before == after


async def test_new_profile_needs_a_place(client: Stubs) -> None:
    """Nobody can be matched from nowhere."""
    nowhere = profile()
    nowhere.ClearField("location")
    upsert = matching_service_pb2.UpsertProfileRequest(profile=nowhere)
    failure = await failure_of(client.matching.UpsertProfile(upsert, timeout=TIMEOUT))
    assert (failure.code, list(failure.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["profile.location"])


async def test_no_profile_at_all(client: Stubs) -> None:
    """A request without its only field says which it is."""
    request = matching_service_pb2.UpsertProfileRequest()
    failure = await failure_of(client.matching.UpsertProfile(request, timeout=TIMEOUT))
    assert (failure.code, failure.violations) == (grpc.StatusCode.INVALID_ARGUMENT, {"profile": "required"})


@pytest.mark.parametrize("latitude", [5e-324, -5e-324, 2.2e-308, -0.0, 90.0])
async def test_place_of_tiny_numbers(client: Stubs, latitude: float) -> None:
    """The least number that a double has is a latitude, a longitude and a radius as good as any."""
    me = await join(client, location={"latitude": latitude, "longitude": -latitude})
    request = matching_service_pb2.ListCandidatesRequest(user_id=me.user_id, radius_miles=abs(latitude) or 1)
    found = (await client.matching.ListCandidates(request, timeout=TIMEOUT)).candidates
    assert me.user_id not in {each.user_id for each in found}


@pytest.mark.parametrize("radius", [0.0, -1.0, 10_000.0, math.nan, math.inf])
async def test_radius_out_of_range(client: Stubs, radius: float) -> None:
    """A radius is above 0 and at most 500 miles, for both RPCs that take one."""
    looking = matching_service_pb2.ListCandidatesRequest(user_id=SOMEBODY, radius_miles=radius)
    asking = matching_service_pb2.RequestMatchRequest(user_id=SOMEBODY, radius_miles=radius)
    for call in (client.matching.ListCandidates(looking, timeout=5), client.matching.RequestMatch(asking, timeout=5)):
        failure = await failure_of(call)
        assert (failure.code, list(failure.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["radius_miles"])


@pytest.mark.parametrize("token", ["garbage", "!!!", "é", "A" * 512, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"])
async def test_page_token_garbage(client: Stubs, token: str) -> None:
    """A token that was not issued is refused by both lists."""
    candidates = matching_service_pb2.ListCandidatesRequest(user_id=SOMEBODY, page_token=token)
    matches = matching_service_pb2.ListMatchesRequest(user_id=SOMEBODY, page_token=token)
    for call in (
        client.matching.ListCandidates(candidates, timeout=5),
        client.matching.ListMatches(matches, timeout=5),
    ):
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
        assert list(failure.violations) == ["page_token"]


async def test_page_token_of_another_list(client: Stubs) -> None:
    """A token issued for other arguments is refused."""
    me = await join(client)
    for _ in range(2):
        await join(client, location=me.location)
    request = matching_service_pb2.ListCandidatesRequest(user_id=me.user_id, page_size=1)
    request.page_token = (await client.matching.ListCandidates(request, timeout=TIMEOUT)).next_page_token
    request.radius_miles = 10
    failure = await failure_of(client.matching.ListCandidates(request, timeout=TIMEOUT))
    assert failure.reason == "PAGE_TOKEN_INVALID"


async def test_unknown_people(client: Stubs) -> None:
    """Whoever has no profile is told so; an unknown candidate is like one who cannot be invited."""
    nobody, somebody = str(uuid.uuid4()), (await join(client)).user_id
    matching = client.matching
    calls = {
        "get": matching.GetProfile(matching_service_pb2.GetProfileRequest(user_id=nobody), timeout=5),
        "look": matching.ListCandidates(matching_service_pb2.ListCandidatesRequest(user_id=nobody), timeout=5),
        "ask": matching.RequestMatch(matching_service_pb2.RequestMatchRequest(user_id=nobody), timeout=5),
    }
    for name, call in calls.items():
        failure = await failure_of(call)
        assert (name, failure.code, failure.reason) == (name, grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND")
        assert failure.metadata == {"user_id": nobody}
    failure = await failure_of(invite(client, somebody, nobody))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CANDIDATE_UNAVAILABLE")


async def test_oneself_is_no_candidate(client: Stubs) -> None:
    """Nobody is their own wingman."""
    somebody = (await join(client)).user_id
    failure = await failure_of(invite(client, somebody, somebody))
    assert (failure.code, list(failure.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["candidate_user_id"])


async def test_inactive_candidate(client: Stubs) -> None:
    """An inactive person can't be invited, and is not told apart from one out of reach."""
    first, second = await join_pair(client)
    await join(client, user_id=second, active=False)
    failure = await failure_of(invite(client, first, second))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CANDIDATE_UNAVAILABLE")


async def test_inactive_requester(client: Stubs) -> None:
    """An inactive person neither looks nor asks."""
    somebody = await join(client, active=False)
    looking = matching_service_pb2.ListCandidatesRequest(user_id=somebody.user_id)
    asking = matching_service_pb2.RequestMatchRequest(user_id=somebody.user_id)
    for call in (client.matching.ListCandidates(looking, timeout=5), client.matching.RequestMatch(asking, timeout=5)):
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROFILE_INACTIVE")


async def test_answers_of_the_wrong_person(client: Stubs) -> None:
    """Only the invited person responds, only the requester cancels, and to a stranger the match does not exist."""
    requester, invitee = await join_pair(client)
    stranger = (await join(client)).user_id
    match = await invite(client, requester, invitee)

    def respond(user: str) -> Any:
        accept = matching_pb2.MATCH_RESPONSE_ACCEPT
        request = matching_service_pb2.RespondToMatchRequest(match_id=match.id, user_id=user, response=accept)
        return failure_of(client.matching.RespondToMatch(request, timeout=TIMEOUT))

    def cancel(user: str) -> Any:
        request = matching_service_pb2.CancelMatchRequest(match_id=match.id, user_id=user)
        return failure_of(client.matching.CancelMatch(request, timeout=TIMEOUT))

    reasons = [
        (await call).reason for call in (respond(requester), cancel(invitee), respond(stranger), cancel(stranger))
    ]
    request = matching_service_pb2.GetMatchRequest(match_id=match.id, user_id=invitee)
    unchanged = (await client.matching.GetMatch(request, timeout=TIMEOUT)).match
    assert reasons == ["NOT_INVITEE", "NOT_REQUESTER", "MATCH_NOT_FOUND", "MATCH_NOT_FOUND"]
    assert unchanged == match


@pytest.mark.parametrize("request_id", ["1", "not-a-uuid", "x" * 1000])
async def test_malformed_request_id(client: Stubs, request_id: str) -> None:
    """A request_id is a UUID."""
    request = matching_service_pb2.RequestMatchRequest(user_id=SOMEBODY, request_id=request_id)
    failure = await failure_of(client.matching.RequestMatch(request, timeout=TIMEOUT))
    assert (failure.code, list(failure.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])
