"""Nobody sees the whole world from one account: far moves and pages have limits of their own."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from support.credentials import KEY, SETTINGS, bearer
from support.databases import fresh_database
from support.edge import Failure, failure_of
from support.people import VIENNA, north_of
from support.places import Place
from support.requests import profile
from support.server import serving_application
from support.stalkers import Person, moved, new_id, world
from support.stubs import Stubs
from support.valkey import own_valkey
from wingmanmatch.matching.v1 import matching_service_pb2

EVERYWHERE = [(52.5, 13.4), (40.7, -74.0), (-33.9, 151.2), (1.35, 103.8), (35.7, 139.7), (-1.3, 36.8)]
MOVES = 3  # a day
PAGES = 200


@pytest.fixture
async def client(admin_dsn: str, tmp_path: Path) -> AsyncIterator[Stubs]:
    """A server that nobody has called yet."""
    async with world(admin_dsn, tmp_path / "world") as client:
        yield client


@pytest.fixture
async def person(client: Stubs) -> Person:
    """Somebody in Vienna."""
    person = Person(client, new_id(random.SystemRandom()), VIENNA)
    await person.settle()
    return person


def denied(failure: Failure, policy: str) -> bool:
    """Return whether a call was refused for this limit."""
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"), failure.message
    return failure.metadata == {"policy": policy}


async def far_moves_left(person: Person) -> int:
    """Move far until it is refused, and return how often that went well."""
    return await steps_made(person, EVERYWHERE)


async def steps_made(person: Person, places: Sequence[Place]) -> int:
    """Move from place to place until a move is refused as a far one, and return how many were made."""
    for made, place in enumerate(places):
        failure = await refusal_of(person, place)
        if failure is not None:
            assert denied(failure, "profile_relocation")
            return made
    return len(places)


async def refusal_of(person: Person, place: Place) -> Failure | None:
    """Move, and return how that failed, if it did."""
    try:
        await person.settle(place)
    except grpc.aio.AioRpcError as error:
        return Failure(error)
    return None


async def is_near(client: Stubs, person: Person, place: Place) -> bool:
    """Return whether somebody new at the place has the person as a candidate."""
    neighbour = Person(client, new_id(random.SystemRandom()), place)
    await neighbour.settle()
    return person.user_id in [each.user_id for each in (await neighbour.look(radius_miles=5)).candidates]


async def test_tour_of_the_world_ends_in_the_third_city(client: Stubs, person: Person) -> None:
    """The first place and three far moves are free; the next is refused, and changes nothing of the profile."""
    assert await far_moves_left(person) == MOVES
    failure = await failure_of(person.settle(VIENNA, first_name="Sly"))
    assert denied(failure, "profile_relocation")
    assert await is_near(client, person, EVERYWHERE[MOVES - 1])
    assert not await is_near(client, person, VIENNA)
    seen = await person.settle(moved(EVERYWHERE[MOVES - 1], 1, 1), first_name="Near")
    assert seen.profile.first_name == "Near"


async def test_small_steps_do_not_walk_around_the_limit(person: Person) -> None:
    """Steps of ten miles add up: the limit is met within a hundred and twenty miles, on the way and not after it."""
    made = await steps_made(person, [north_of(VIENNA, 10 * step) for step in range(1, 40)])
    assert 75 <= 10 * made <= 120


async def test_many_moves_near_home_are_free(person: Person) -> None:
    """Whoever moves about within some twenty miles is never charged."""
    source = random.Random(5)
    for _ in range(40):
        await person.settle(moved(VIENNA, source.uniform(-14, 14), source.uniform(-14, 14)))
    assert await far_moves_left(person) == MOVES


async def test_what_is_refused_or_repeated_is_not_charged(person: Person) -> None:
    """A far move that breaks another rule, and one that is sent again with its request_id, cost nothing."""
    nowhere = {"latitude": 95, "longitude": 0}
    for changes in ({"time_zone": "Mars/Olympus"}, {"first_name": ""}, {"location": nowhere}):
        sent = profile(user_id=person.user_id, **changes)
        request = matching_service_pb2.UpsertProfileRequest(profile=sent)
        failure = await failure_of(person.call("UpsertProfile", request))
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    sent = profile(user_id=person.user_id, location={"latitude": 10, "longitude": 20})
    request = matching_service_pb2.UpsertProfileRequest(profile=sent, request_id=str(uuid.uuid4()))
    first = await person.call("UpsertProfile", request)
    again = await asyncio.gather(*(person.call("UpsertProfile", request) for _ in range(5)))
    assert again == [first] * 5
    assert await far_moves_left(person) == MOVES - 1


async def test_same_far_move_at_once_is_charged_once(person: Person) -> None:
    """One request that is sent several times at once makes one move, and costs one."""
    sent = profile(user_id=person.user_id, location={"latitude": 10, "longitude": 20})
    request = matching_service_pb2.UpsertProfileRequest(profile=sent, request_id=str(uuid.uuid4()))
    answers = await asyncio.gather(*(person.call("UpsertProfile", request) for _ in range(4)), return_exceptions=True)
    assert sum(not isinstance(each, Exception) for each in answers) >= MOVES
    assert await far_moves_left(person) == MOVES - 1


async def test_backend_moves_people_at_will(client: Stubs) -> None:
    """What a backend does is charged to nobody: it vouches for its people's places."""
    person = Person(client, new_id(random.SystemRandom()), VIENNA)
    person.metadata = bearer(KEY)
    assert await far_moves_left(person) == len(EVERYWHERE)
    person = Person(client, person.user_id, VIENNA)
    assert await far_moves_left(person) == MOVES


async def test_local_limit_while_redis_is_gone(admin_dsn: str, tmp_path: Path) -> None:
    """While Redis is unavailable each process allows three far moves, as the policy's outage behaviour says."""
    with own_valkey(tmp_path) as valkey:
        async with (
            fresh_database(admin_dsn) as dsn,
            serving_application(dsn, valkey.url, tmp_path, **SETTINGS) as client,
        ):
            person = Person(client, new_id(random.SystemRandom()), VIENNA)
            await person.settle()
            valkey.kill()
            assert await far_moves_left(person) == MOVES


async def test_pages_of_a_day_end(admin_dsn: str, tmp_path: Path) -> None:
    """The two hundred and first page of a day is refused, of whatever list and size; other people's are not.

    The limit of all calls, which comes first at this speed, is raised; that of pages is as shipped.
    """
    file = tmp_path / "limits.toml"
    file.write_text("[policies.public_api]\ncapacity = 1000\n")
    async with world(admin_dsn, tmp_path / "world", rate_limits_file=file) as client:
        person, other = (Person(client, new_id(random.SystemRandom()), VIENNA) for _ in range(2))
        await person.settle()
        await other.settle()
        for number in range(PAGES):
            await person.look(radius_miles=1 + number % 7, page_size=1 + number % 100)
        assert denied(await failure_of(person.look()), "candidate_pages")
        assert [each.user_id for each in (await other.look()).candidates] == [person.user_id]
