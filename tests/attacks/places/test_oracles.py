"""Errors and answers say nothing of who somebody is to others, whether they exist, or where they are."""

import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import Descriptor

from support.edge import failure_of
from support.people import north_of
from support.places import Place
from support.stalkers import Person, answer_bytes, new_id, world
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server.bootstrap import SERVICES

ADVANCED = matching_pb2.EXPERIENCE_LEVEL_ADVANCED
RADIUS = 40.0


@pytest.fixture(scope="module")
async def client(admin_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stubs]:
    """A server that the tests of this module share, each at a place of its own."""
    async with world(admin_dsn, Path(tmp_path_factory.mktemp("world"))) as client:
        yield client


async def join(client: Stubs, place: Place, **fields: object) -> Person:
    """Return a new person who lives at a place."""
    person = Person(client, new_id(random.SystemRandom()), place)
    await person.settle(**fields)
    return person


async def block(person: Person, other: Person) -> None:
    """Let one person block another."""
    request = matching_service_pb2.BlockUserRequest(user_id=person.user_id, blocked_user_id=other.user_id)
    await person.call("BlockUser", request)


async def decline(person: Person, match_id: str) -> None:
    """Let an invited person say no."""
    response = matching_pb2.MATCH_RESPONSE_DECLINE
    request = matching_service_pb2.RespondToMatchRequest(match_id=match_id, user_id=person.user_id, response=response)
    await person.call("RespondToMatch", request)


async def pair_of(client: Stubs, case: str, place: Place) -> tuple[Person, str]:
    """Return somebody, and the id of somebody whom they cannot invite, for the reason that names the case."""
    me = await join(client, place)
    if case == "nobody":
        return me, new_id(random.SystemRandom())
    far = north_of(place, 60)
    fields = {"inactive": {"active": False}, "another level": {"experience_level": ADVANCED}, "homebody": {}}
    other = await join(client, far if case == "far away" else place, **fields.get(case, {}))
    if case == "homebody":
        await other.settle(north_of(place, 10), max_travel_miles=5)
    if case == "has blocked me":
        await block(other, me)
    elif case == "blocked by me":
        await block(me, other)
    elif case == "has declined":
        await decline(other, (await me.ask(candidate_user_id=other.user_id)).match.id)
    elif case == "busy":
        await (await join(client, place)).ask(candidate_user_id=other.user_id)
    return me, other.user_id


async def test_people_who_cannot_be_invited_are_all_alike(client: Stubs) -> None:
    """Blocked or blocking, inactive, away, of another level, busy, paired or not there at all: one answer."""
    cases = (
        *("nobody", "inactive", "far away", "another level", "homebody"),
        *("has blocked me", "blocked by me", "has declined", "busy"),
    )
    answers = {}
    for number, case in enumerate(cases):
        me, other = await pair_of(client, case, (10.0, 5.0 * number))
        failure = await failure_of(me.ask(candidate_user_id=other, radius_miles=RADIUS))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CANDIDATE_UNAVAILABLE"), case
        answers[case] = answer_bytes(failure).replace(other.encode(), b"somebody")
    assert len(set(answers.values())) == 1, answers


async def test_who_may_not_ask_learns_nothing_of_others(client: Stubs) -> None:
    """To somebody who has an invitation out, a person who exists and one who does not are alike."""
    me, invited, other = [await join(client, (20.0, 5.0)) for _ in range(3)]
    await me.ask(candidate_user_id=invited.user_id)
    answers = [
        answer_bytes(await failure_of(me.ask(candidate_user_id=each)))
        for each in (other.user_id, new_id(random.SystemRandom()))
    ]
    assert answers[0] == answers[1]
    assert b"PENDING_MATCH_EXISTS" in answers[0]


def messages_within(message: Descriptor, seen: set[str]) -> Iterator[Descriptor]:
    """Yield a message type and all that its fields lead to, once each."""
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    yield message
    for field in message.fields:
        if field.message_type is not None:
            yield from messages_within(field.message_type, seen)


def test_only_the_own_profile_has_room_for_coordinates() -> None:
    """No answer has room for a place but the own profile's, and there the field is for input only."""
    with_place = set()
    for service in SERVICES:
        for method in service.methods:
            types = messages_within(method.output_type, set())
            if any(message.full_name == "google.type.LatLng" for message in types):
                with_place.add(method.name)
    assert with_place == {"UpsertProfile", "GetProfile"}


async def test_place_is_in_no_answer(client: Stubs) -> None:
    """The digits of a person's coordinates stand in no byte of any answer about them, to themself or to others."""
    me = Person(client, new_id(random.SystemRandom()), (12.345678, 65.432187))
    stored = await me.settle()
    other = await join(client, me.place)
    get = matching_service_pb2.GetProfileRequest(user_id=me.user_id)
    answers = [
        stored,
        await me.call("GetProfile", get),
        await other.look(),
        await other.ask(candidate_user_id=me.user_id),
    ]
    for answer in answers:
        assert me.user_id in str(answer)
        assert "12.34" not in str(answer)
        assert "65.43" not in str(answer)
        assert not any(name in str(answer) for name in ("latitude", "longitude"))
