"""Profiles: what is stored, what is refused, and what a place gives away."""

from typing import Any

import pytest

from support.people import VIENNA, People, Place, new_profile, north_of
from support.places import cell_of, meters
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.matching.messages import profile_message
from wingmanmatch_server.texts.photo_addresses import PhotoAddresses


async def pool_point(people: People, user_id: str) -> Place:
    """Return where matching believes the person to be."""
    row = await people.sql.fetchrow("select * from match_pool where user_id = $1::text::uuid", user_id)
    return row["latitude"], row["longitude"]


async def test_profile_comes_back_as_stored_without_the_place(shared: People) -> None:
    """All fields come back, the location does not."""
    asked = new_profile(shared.new_id(), VIENNA)
    stored = (await shared.store.upsert_profile(asked)).profile
    del asked["location"]
    assert {name: getattr(stored, name) for name in asked} == asked | {"location_privacy": "PRECISE"}
    assert await shared.store.get_profile(asked["user_id"]) == stored
    result = await shared.store._database.call("get_profile", p_user_id=asked["user_id"])
    assert set(result["profile"]) - set(asked) == {"create_time", "update_time"}


async def test_defaults(people: People) -> None:
    """What is left out takes its documented default."""
    profile = {
        "user_id": people.new_id(),
        "email": "ann@example.org",
        "first_name": "Ann",
        "experience_level": "BEGINNER",
        "confidence_archetype": "GHOST",
        "max_travel_miles": 0,
        "time_zone": "",
        "location": {"latitude": 0, "longitude": 0},
    }
    stored = (await people.store.upsert_profile(profile)).profile
    assert (stored.location_privacy, stored.max_travel_miles, stored.active) == ("PRECISE", 20, True)
    assert (stored.time_zone, stored.locale, stored.bio) == ("UTC", "en", "")


async def test_profile_is_replaced_and_keeps_its_place(people: People) -> None:
    """A later upsert replaces every field, keeps create_time, and keeps the place it does not name."""
    ann = await people.join()
    created = (await people.store.get_profile(ann)).create_time
    place = await pool_point(people, ann)
    answer = (await people.store.upsert_profile(new_profile(ann, None, bio="", first_name="Anna"))).profile
    assert (answer.first_name, answer.bio) == ("Anna", "")
    assert answer.create_time == created
    assert await pool_point(people, ann) == place


async def test_unknown_profile(shared: People) -> None:
    """Nobody there is NOT_FOUND."""
    with pytest.raises(errors.NotFound) as caught:
        await shared.store.get_profile(shared.new_id())
    assert caught.value.reason == "PROFILE_NOT_FOUND"


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("user_id", None, "profile.user_id"),
        ("user_id", "nobody", "profile"),
        ("email", "ann@example.org\nBcc: eve@example.org", "profile.email"),
        ("email", "ann", "profile.email"),
        ("email", None, "profile.email"),
        ("first_name", "", "profile.first_name"),
        ("first_name", "A" * 61, "profile.first_name"),
        ("last_name", "Ex\tample", "profile.last_name"),
        ("bio", "b" * 1_000_000, "profile.bio"),
        ("photo_url", "http://example.org/ann.jpg", "profile.photo_url"),
        ("experience_level", "GURU", "profile.experience_level"),
        ("confidence_archetype", "", "profile.confidence_archetype"),
        ("city", "V" * 101, "profile.city"),
        ("location_privacy", "SECRET", "profile.location_privacy"),
        ("max_travel_miles", 501, "profile.max_travel_miles"),
        ("max_travel_miles", -1, "profile.max_travel_miles"),
        ("max_travel_miles", "far", "profile"),
        ("time_zone", "Mars/Olympus", "profile.time_zone"),
        ("locale", "german please", "profile.locale"),
        ("active", "perhaps", "profile"),
        ("location", None, "profile.location"),
        ("location", {"latitude": 90.1, "longitude": 0}, "profile.location.latitude"),
        ("location", {"latitude": 0, "longitude": -180.1}, "profile.location.longitude"),
        ("location", {"latitude": 0}, "profile.location.longitude"),
    ],
)
async def test_bad_field_is_named_and_nothing_is_stored(shared: People, field: str, value: Any, named: str) -> None:
    """A value that breaks a rule is refused under the name of its field, and leaves no trace."""
    profiles = await shared.sql.fetchval("select count(*) from user_profiles")
    with pytest.raises(errors.InvalidArgument) as caught:
        await shared.store.upsert_profile(new_profile(shared.new_id(), VIENNA) | {field: value})
    assert (caught.value.reason, caught.value.violations[0].field) == ("FIELD_INVALID", named)
    assert not value or str(value) not in caught.value.message
    assert await shared.sql.fetchval("select count(*) from user_profiles") == profiles


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"radius_miles": 0}, "radius_miles"),
        ({"radius_miles": 10_000}, "radius_miles"),
        ({"radius_miles": float("nan")}, "radius_miles"),
        ({"venue_suggestion": "v" * 201}, "venue_suggestion"),
        ({"venue_suggestion": "Prater\r\nBcc: eve@example.org"}, "venue_suggestion"),
        ({"message": "m" * 501}, "message"),
    ],
)
async def test_bad_request_is_named_and_nothing_happens(people: People, arguments: dict[str, Any], field: str) -> None:
    """A request that breaks a rule is refused under the name of its field, and makes no match."""
    ann, _ = await people.join_many(2)
    with pytest.raises(errors.InvalidArgument) as caught:
        await people.store.request_match(ann, **arguments)
    assert (caught.value.reason, caught.value.violations[0].field) == ("FIELD_INVALID", field)
    assert await people.sql.fetchval("select count(*) from matches") == 0


async def test_bad_lists_and_answers_are_named(people: People) -> None:
    """A negative page, an unknown state and an unknown response are refused under their field's name."""
    ann, ben = await people.join_many(2)
    match = await people.invite(ann, ben)
    for call, field in (
        (people.store.list_candidates(ann, radius_miles=-1), "radius_miles"),
        (people.store.list_matches(ann, page_size=-1), "page_size"),
        (people.store.list_matches(ann, states=["LOST"]), "states"),
        (people.store.respond_to_match(match.id, ben, "MAYBE"), "response"),
    ):
        with pytest.raises(errors.InvalidArgument) as caught:
            await call
        assert caught.value.violations[0].field == field


@pytest.mark.parametrize("privacy", ["APPROXIMATE", "CITY_ONLY"])
@pytest.mark.parametrize(
    "place",
    [VIENNA, (0.0, 0.0), (-16.8, 179.999), (-16.8, 180.0), (-16.8, -180.0), (89.99, 20.0), (90.0, 0.0), (-90.0, 7.0)],
)
async def test_stand_in_is_that_of_the_published_grid(shared: People, place: Place, privacy: str) -> None:
    """Matching uses a point of the place's own cell, which anybody can work out from the person and the cell."""
    ann = await shared.join(place, location_privacy=privacy)
    cell = cell_of(place, city_only=privacy == "CITY_ONLY")
    point = await pool_point(shared, ann)
    assert point == pytest.approx(cell.stand_in(ann), abs=1e-12)
    assert point != place
    assert cell_of(point, city_only=privacy == "CITY_ONLY") == cell


@pytest.mark.parametrize("latitude", [0.005, 33.3, -48.21, 60.0, 71.0, -82.5])
@pytest.mark.parametrize(("city_only", "smallest", "largest"), [(False, 1100, 1140), (True, 11_000, 11_300)])
def test_cells_have_one_size_everywhere(latitude: float, *, city_only: bool, smallest: int, largest: int) -> None:
    """A cell's sides, in metres, are alike from the equator to the far north."""
    cell = cell_of((latitude, 12.34), city_only=city_only)
    sides = meters(cell.at(0, 0.5), cell.at(1, 0.5)), meters(cell.at(0.5, 0), cell.at(0.5, 1))
    assert all(smallest < side < largest for side in sides), sides


@pytest.mark.parametrize("privacy", ["APPROXIMATE", "CITY_ONLY"])
async def test_stand_in_depends_on_person_and_cell_alone(people: People, privacy: str) -> None:
    """Wherever in the cell a person is, matching sees one and the same point; another cell or person has another."""
    ann, ben = await people.join_many(2, VIENNA, location_privacy=privacy)
    cell = cell_of(VIENNA, city_only=privacy == "CITY_ONLY")
    points = set()
    for step in range(8):
        place = cell.at(0.01 + step * 0.14, 0.99 - step * 0.14)
        await people.store.upsert_profile(new_profile(ann, place, location_privacy=privacy))
        points.add(await pool_point(people, ann))
    assert len(points) == 1
    assert await pool_point(people, ben) not in points
    await people.store.upsert_profile(new_profile(ann, north_of(cell.centre, 8), location_privacy=privacy))
    assert await pool_point(people, ann) not in points


async def test_privacy_can_be_switched_without_telling_the_place_again(people: People) -> None:
    """Going city-only makes the area larger, and going back finds the smaller one."""
    ann = await people.join()
    before = await pool_point(people, ann)
    await people.store.upsert_profile(new_profile(ann, None, location_privacy="CITY_ONLY"))
    city = await pool_point(people, ann)
    await people.store.upsert_profile(new_profile(ann, None))
    assert city == pytest.approx(cell_of(VIENNA, city_only=True).stand_in(ann), abs=1e-12)
    assert await pool_point(people, ann) == before


@pytest.mark.parametrize("word", ["PRECISE", "APPROXIMATE", "", None])
async def test_both_versions_words_for_the_default_are_one(shared: People, word: str | None) -> None:
    """What the version before calls PRECISE is APPROXIMATE, and stored under the word that both can read."""
    stored = (await shared.store.upsert_profile(new_profile(shared.new_id(), VIENNA, location_privacy=word))).profile
    assert stored.location_privacy == "PRECISE"
    assert (
        profile_message(stored, PhotoAddresses([], None)).location_privacy == matching_pb2.LOCATION_PRIVACY_APPROXIMATE
    )


async def test_only_the_export_has_the_true_place(shared: People) -> None:
    """A person's own export has the place as it was sent, and speaks of privacy as the API does."""
    ann = await shared.join((12.5, -71.25))
    (record,) = (await shared.store.list_export_records(ann, "PROFILE")).records
    assert record["location"] == {"latitude": 12.5, "longitude": -71.25}
    assert record["location_privacy"] == "APPROXIMATE"


async def test_upsert_leaves_a_pending_match_alone(people: People) -> None:
    """Changing a profile neither frees a person of a pending match nor loses it."""
    ann, ben, eve = await people.join_many(3)
    await people.invite(ann, ben)
    await people.store.upsert_profile(new_profile(ben, north_of(VIENNA, 1)))
    assert await people.candidates(eve) == []
    assert await people.broken_rules() == []
