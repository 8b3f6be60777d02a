"""Nobody's place can be read or reckoned from what others are answered."""

import math
import random
import uuid
from collections.abc import Iterator, Sequence

import pytest
from google.protobuf.descriptor import Descriptor

from support.people import MILES_PER_DEGREE
from support.requests import TIMEOUT, join
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server.bootstrap import SERVICES

Place = tuple[float, float]

PROBES = 1000
CELL_MILES = 7.0
ATTACK_RADIUS = 60.0


def miles(one: Place, other: Place) -> float:
    """Return the great-circle distance of two places in statute miles."""
    up, across = math.radians(other[0] - one[0]), math.radians(other[1] - one[1])
    root = math.sin(up / 2) ** 2 + math.cos(math.radians(one[0])) * math.cos(math.radians(other[0])) * (
        math.sin(across / 2) ** 2
    )
    return 7917.5226 * math.asin(math.sqrt(root))


def moved(place: Place, north: float, east: float) -> Place:
    """Return the place so many miles away."""
    latitude = place[0] + north / MILES_PER_DEGREE
    return latitude, place[1] + east / MILES_PER_DEGREE / math.cos(math.radians(latitude))


def trilaterated(probes: Sequence[tuple[Place, float]], start: Place) -> Place:
    """Return the place whose distances fit best to those measured: Gauss-Newton on least squares."""
    north = east = 0.0
    for _ in range(60):
        matrix, vector = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]
        for place, distance in probes:
            guess = moved(start, north, east)
            error = miles(place, guess) - distance
            slopes = [
                (miles(place, moved(start, north + 0.01, east)) - distance - error) / 0.01,
                (miles(place, moved(start, north, east + 0.01)) - distance - error) / 0.01,
            ]
            for row in range(2):
                vector[row] += slopes[row] * error
                for column in range(2):
                    matrix[row][column] += slopes[row] * slopes[column]
        determinant = matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0]
        step_north = (vector[0] * matrix[1][1] - vector[1] * matrix[0][1]) / determinant
        step_east = (vector[1] * matrix[0][0] - vector[0] * matrix[1][0]) / determinant
        north, east = north - step_north, east - step_east
        if math.hypot(step_north, step_east) < 1e-4:
            break
    return moved(start, north, east)


@pytest.mark.parametrize("transport", ["postgres"], indirect=True)
async def test_attacker_that_can_measure_finds_a_precise_place(client: Stubs) -> None:
    """The attack is a good one: who shows the place precisely is found to a few hundred feet."""
    target = await join(client, **somewhere(1))
    found = await attack(client, target, probes=100)
    assert miles(found, place_of(target)) < 0.1


@pytest.mark.parametrize("transport", ["postgres"], indirect=True)
async def test_thousand_probes_find_no_more_than_the_city(client: Stubs) -> None:
    """A thousand answers from a thousand places are the same wherever in the area the person is.

    So it is not this attack alone that fails: no reckoning on such answers finds more than the area. What it finds is
    the stand-in, well; and of two places of the person it is at more than a mile from one at least.
    """
    target = await join(client, **somewhere(2), location_privacy=matching_pb2.LOCATION_PRIVACY_CITY_ONLY)
    centre, places = place_of(target), [place_of(target)]
    here = await probed(client, target, centre, PROBES)
    # Elsewhere in the same cell, which is a tenth of a degree high.
    target.location.latitude += 0.04
    places.append(place_of(target))
    await client.matching.UpsertProfile(matching_service_pb2.UpsertProfileRequest(profile=target), timeout=TIMEOUT)
    assert await probed(client, target, centre, PROBES) == here
    assert len({distance for _, distance in here}) > 5, "the probes do see different distances"
    found = trilaterated(middles(here), centre)
    errors = [miles(found, place) for place in places]
    assert miles(*places) > 2.5
    assert 1.0 < max(errors) < math.hypot(CELL_MILES, CELL_MILES) + 1.0


def somewhere(seed: int) -> dict[str, object]:
    """Return a place far from all others, low in its cell of a tenth of a degree, as fields of a profile."""
    source = random.Random(seed)
    latitude = source.randrange(200, 500) / 10 + 0.02
    return {
        # The stand-in of a place depends on the id, so the attack ends alike in every run.
        "user_id": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        "location": {"latitude": latitude, "longitude": source.uniform(-120, 120)},
        "max_travel_miles": 500,
        "first_name": "Target",
    }


def place_of(profile: matching_pb2.Profile) -> Place:
    """Return where a profile says the person is."""
    return profile.location.latitude, profile.location.longitude


async def attack(client: Stubs, target: matching_pb2.Profile, probes: int) -> Place:
    """Return the place that fits best to the distances shown from as many places around a person."""
    return trilaterated(middles(await probed(client, target, place_of(target), probes)), place_of(target))


async def probed(client: Stubs, target: matching_pb2.Profile, centre: Place, probes: int) -> list[tuple[Place, float]]:
    """Move an attacker around a centre, the same way each time, and return each place with the distance shown there."""
    source = random.Random(probes)
    attacker = await join(client, location=target.location, max_travel_miles=500, first_name="Attacker")
    attacker.location_privacy = matching_pb2.LOCATION_PRIVACY_PRECISE
    measured: list[tuple[Place, float]] = []
    for _ in range(probes):
        reach, direction = ATTACK_RADIUS * math.sqrt(source.random()), source.uniform(0, 2 * math.pi)
        place = moved(centre, reach * math.sin(direction), reach * math.cos(direction))
        measured.append((place, await distance_from(client, attacker, target.user_id, place)))
    return measured


def middles(measured: list[tuple[Place, float]]) -> list[tuple[Place, float]]:
    """Return what an attacker takes for the true distances: coarse ones are rounded up to five miles, as is known."""
    coarse = all(distance % 5 == 0 for _, distance in measured)
    return [(place, distance - 2.5 * coarse) for place, distance in measured]


async def distance_from(client: Stubs, attacker: matching_pb2.Profile, target: str, place: Place) -> float:
    """Return how far away the attacker sees a person from a place."""
    attacker.location.latitude, attacker.location.longitude = place
    await client.matching.UpsertProfile(matching_service_pb2.UpsertProfileRequest(profile=attacker), timeout=TIMEOUT)
    request = matching_service_pb2.ListCandidatesRequest(user_id=attacker.user_id, radius_miles=200)
    candidates = (await client.matching.ListCandidates(request, timeout=TIMEOUT)).candidates
    (distance,) = (each.distance_miles for each in candidates if each.user_id == target)
    return distance


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
    me = await join(client, location={"latitude": 12.345678, "longitude": 65.432187})
    other = await join(client, location=me.location)
    answers = [
        await client.matching.GetProfile(matching_service_pb2.GetProfileRequest(user_id=me.user_id), timeout=TIMEOUT),
        await client.matching.ListCandidates(
            matching_service_pb2.ListCandidatesRequest(user_id=other.user_id), timeout=TIMEOUT
        ),
        await client.matching.RequestMatch(
            matching_service_pb2.RequestMatchRequest(user_id=other.user_id, candidate_user_id=me.user_id),
            timeout=TIMEOUT,
        ),
    ]
    for answer in answers:
        assert me.user_id in str(answer)
        assert "12.34" not in str(answer)
        assert "65.43" not in str(answer)
        assert not any(name in str(answer) for name in ("latitude", "longitude"))
