"""Who is a candidate, and in which order."""

import math
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from support.databases import fresh_database
from support.people import VIENNA, People, Place, new_profile, north_of, open_people
from wingmanmatch_server import errors

LEVELS = {"BEGINNER": 1, "INTERMEDIATE": 2, "ADVANCED": 3}
Row = dict[str, Any]

# A town, a village astride the antimeridian, both poles, the latitude where the plane is left, and a house for many.
CENTRES: list[tuple[Place, float, int]] = [
    (VIENNA, 12, 260),
    ((-16.8, 179.98), 15, 120),
    ((-16.8, -179.97), 15, 60),
    ((89.8, 20), 25, 80),
    ((-89.7, -120), 25, 80),
    ((83.6, 179.9), 30, 60),
    ((0.0, 0.0), 20, 40),
    ((-33.4567, 151.2), 0, 60),
]


def great_circle_miles(here: Row, there: Row) -> float:
    """Return the haversine distance, without the database."""
    half_lat = math.radians(there["latitude"] - here["latitude"]) / 2
    half_lng = math.radians(there["longitude"] - here["longitude"]) / 2
    cosines = math.cos(math.radians(here["latitude"])) * math.cos(math.radians(there["latitude"]))
    return 2 * 3958.7613 * math.asin(min(1.0, math.sqrt(math.sin(half_lat) ** 2 + cosines * math.sin(half_lng) ** 2)))


def expected_candidates(seeker: Row, rows: list[Row], avoided: set[tuple[str, str]], radius: float) -> list[str]:
    """Return whom the rules allow, by looking at everybody."""
    ranked = []
    for row in rows:
        distance = great_circle_miles(seeker, row)
        if (
            row["user_id"] != seeker["user_id"]
            and row["active"]
            and not row["busy"]
            and abs(row["level"] - seeker["level"]) <= 1
            and (seeker["user_id"], row["user_id"]) not in avoided
            and distance <= min(radius, seeker["max_travel_miles"], row["max_travel_miles"])
        ):
            ranked.append((distance, -row["reputation"], row["user_id"]))
    return [user_id for _, _, user_id in sorted(ranked)]


def scatter(source: random.Random, centre: Place, spread_miles: float) -> Place:
    """Return a place near `centre`, on the globe, poles and antimeridian included."""
    latitude = centre[0] + source.gauss(0, spread_miles) / 69
    if abs(latitude) > 90:
        latitude = math.copysign(180 - abs(latitude), latitude)
    stretch = max(math.cos(math.radians(latitude)), 0.01)
    longitude = centre[1] + source.gauss(0, spread_miles) / 69 / stretch
    return latitude, (longitude + 180) % 360 - 180


async def populate(people: People) -> None:
    """Fill the world with people of every kind."""
    for centre, spread, count in CENTRES:
        for _ in range(count):
            await people.join(
                scatter(people.source, centre, spread),
                experience_level=people.source.choice(list(LEVELS)),
                location_privacy=people.source.choices(["APPROXIMATE", "CITY_ONLY"], [4, 1])[0],
                max_travel_miles=people.source.choice([5, 20, 50, 500]),
                active=people.source.random() < 0.9,
            )
    await people.sql.execute("select setseed(0.5)")
    await people.sql.execute("update match_pool set reputation = floor(random() * 26) - 5")
    await people.sql.execute("update match_pool set busy_until = now() + interval '1 day' where random() < 0.1")
    await people.sql.execute("update match_pool set busy_until = now() - interval '1 day' where random() < 0.1")
    await people.sql.execute(
        """insert into avoidances
        select a.user_id, b.user_id, (array['PAIRED', 'BLOCKED', 'BLOCKED_BY'])[1 + floor(random() * 3)],
            now() + (random() - 0.3) * interval '7 days'
        from match_pool a join match_pool b on random() < 0.02 and a.user_id <> b.user_id"""
    )


@pytest.fixture(scope="module")
async def world(admin_dsn: str) -> AsyncIterator[People]:
    """Several hundred people, on a database that the tests of this module only read."""
    async with fresh_database(admin_dsn) as dsn, open_people(dsn) as people:
        await populate(people)
        yield people


async def read_pool(people: People) -> tuple[list[Row], set[tuple[str, str]]]:
    """Return everybody as matching sees them, and who avoids whom."""
    rows = await people.sql.fetch("select *, user_id::text, busy_until > now() as busy from match_pool")
    pairs = await people.sql.fetch("select user_id::text, other_id::text from avoidances where until > now()")
    return [dict(row) for row in rows], {tuple(pair) for pair in pairs}


@pytest.mark.parametrize("radius", [0.5, 25, 500])
async def test_nearest_first_exactly(world: People, radius: float) -> None:
    """The list is what looking at every person gives, at poles, antimeridian and on one point alike."""
    rows, avoided = await read_pool(world)
    seekers = [row for row in rows if row["active"]]
    found = 0
    for seeker in random.Random(radius).sample(seekers, 150):
        expected = expected_candidates(seeker, rows, avoided, radius)
        assert await world.candidates(seeker["user_id"], radius_miles=radius, page_size=25) == expected[:25]
        found += len(expected)
    assert found > 100


async def test_pages_join_to_the_whole_list(world: People) -> None:
    """Pages of seven, one after the other, are the list without gap or repetition."""
    rows, avoided = await read_pool(world)
    for seeker in random.Random(3).sample([row for row in rows if row["active"]], 40):
        pages: list[str] = []
        position = None
        while True:
            page = await world.store.list_candidates(seeker["user_id"], radius_miles=500, page_size=7, after=position)
            pages += [candidate.user_id for candidate in page.candidates]
            position = page.next_position
            if position is None:
                break
        assert pages == expected_candidates(seeker, rows, avoided, 500)


async def test_distances_are_shown_as_promised(world: People) -> None:
    """Distances show whole miles, or steps of five where either person shows only the city, and never zero."""
    rows, _ = await read_pool(world)
    by_id = {row["user_id"]: row for row in rows}
    coarse_seen = fine_seen = 0
    for seeker in random.Random(5).sample([row for row in rows if row["active"]], 60):
        for candidate in (await world.store.list_candidates(seeker["user_id"], page_size=20)).candidates:
            row = by_id[candidate.user_id]
            exact, shown = great_circle_miles(seeker, row), candidate.distance_miles
            if seeker["coarse"] or row["coarse"]:
                assert shown % 5 == 0
                assert exact <= shown <= max(exact + 5, 5)
                coarse_seen += 1
            else:
                assert shown == max(round(exact), 1)
                fine_seen += 1
    assert min(coarse_seen, fine_seen) > 50


async def test_pages_go_on_whatever_becomes_of_the_last_person(people: People) -> None:
    """The next page shows the rest although the last person of the first moved, left, hid or blocked the seeker."""
    seeker = await people.join()
    everybody = [await people.join(north_of(VIENNA, 2 * step)) for step in range(1, 6)]
    first = await people.store.list_candidates(seeker, page_size=2)
    last = everybody[1]
    assert [each.user_id for each in first.candidates] == everybody[:2]
    for change in (
        lambda: people.store.upsert_profile(new_profile(last, north_of(VIENNA, 500))),
        lambda: people.store.upsert_profile(new_profile(last, north_of(VIENNA, 1))),
        lambda: people.store.upsert_profile(new_profile(last, north_of(VIENNA, 4), active=False)),
        lambda: people.store.block_user(last, seeker),
        lambda: people.store.delete_profile(last),
    ):
        await change()
        page = await people.store.list_candidates(seeker, page_size=2, after=first.next_position)
        assert [each.user_id for each in page.candidates] == everybody[2:4]


async def test_position_that_lacks_something_is_refused(people: People) -> None:
    """A position without one of its values, as another version may write it, is no position of this list."""
    seeker = await people.join()
    position = {"distance": 1.5, "demerit": 0, "user_id": people.new_id()}
    assert (await people.store.list_candidates(seeker, after=position)).candidates == ()
    for name in position:
        with pytest.raises(errors.InvalidArgument) as caught:
            await people.store.list_candidates(seeker, after=position | {name: None})
        assert (caught.value.reason, caught.value.violations[0].field) == ("PAGE_TOKEN_INVALID", "page_token")


async def test_version_before_goes_on_behind_candidates_only(people: People) -> None:
    """`p_after`, which servers of the version before send, ranks nobody whom the seeker could not see anyway."""
    seeker, blocker, inactive, candidate = await people.join_many(4)
    await people.store.block_user(blocker, seeker)
    await people.store.upsert_profile(new_profile(inactive, VIENNA, active=False))
    far = await people.join(north_of(VIENNA, 60))
    behind = await people.join(north_of(VIENNA, 3))
    call = people.store._database.call
    page = await call("list_candidates", p_user_id=seeker, p_radius_miles=25.0, p_page_size=1, p_after=None)
    assert page["next_after"] == candidate
    page = await call("list_candidates", p_user_id=seeker, p_radius_miles=25.0, p_page_size=1, p_after=candidate)
    assert ([each["user_id"] for each in page["candidates"]], page["next_after"]) == ([behind], None)
    for nobody in (blocker, inactive, far, seeker, people.new_id()):
        with pytest.raises(errors.InvalidArgument) as caught:
            await call("list_candidates", p_user_id=seeker, p_after=nobody)
        assert (caught.value.reason, caught.value.violations[0].field) == ("PAGE_TOKEN_INVALID", "page_token")


async def test_edge_of_the_radius(people: People) -> None:
    """Just inside the radius asked, and well inside one's own limit and the other's, is in; outside any is not."""
    seeker = await people.join(max_travel_miles=30)
    near = await people.join(north_of(VIENNA, 8), max_travel_miles=10)
    await people.join(north_of(VIENNA, 12), max_travel_miles=10)
    far = await people.join(north_of(VIENNA, 28), max_travel_miles=500)
    await people.join(north_of(VIENNA, 32), max_travel_miles=500)
    rows = {row["user_id"]: row for row in (await read_pool(people))[0]}
    to_near, to_far = (great_circle_miles(rows[seeker], rows[each]) for each in (near, far))
    assert await people.candidates(seeker, radius_miles=500) == [near, far]
    assert await people.candidates(seeker, radius_miles=to_far + 1e-6) == [near, far]
    assert await people.candidates(seeker, radius_miles=to_far - 1e-6) == [near]
    assert await people.candidates(seeker, radius_miles=to_near - 1e-6) == []


async def test_levels_are_the_same_or_neighbours(people: People) -> None:
    """A beginner never meets an advanced person; everybody else may."""
    ids = {level: await people.join(experience_level=level) for level in LEVELS}
    neighbours = {"BEGINNER": {"INTERMEDIATE"}, "INTERMEDIATE": {"BEGINNER", "ADVANCED"}, "ADVANCED": {"INTERMEDIATE"}}
    for level, others in neighbours.items():
        assert set(await people.candidates(ids[level])) == {ids[other] for other in others}


async def test_candidates_tell_only_what_others_may_know(people: People) -> None:
    """A candidate carries the fields of the API: no mail address, no surname, no place."""
    seeker = await people.join()
    await people.join()
    (candidate,) = (await people.store._database.call("list_candidates", p_user_id=seeker))["candidates"]
    assert set(candidate) == {
        *("user_id", "first_name", "bio", "photo_url", "experience_level", "confidence_archetype"),
        *("distance_miles", "reputation"),
    }


async def test_a_pending_match_hides_both_until_it_expires(people: People) -> None:
    """Two people of a pending match are nobody's candidates, and are again once its time is over, sweep or no sweep."""
    ann, ben, eve = await people.join_many(3)
    await people.invite(ann, ben)
    assert await people.candidates(eve) == []
    await people.let_pass(timedelta(hours=72, seconds=1))
    assert set(await people.candidates(eve)) == {ann, ben}
    assert await people.candidates(ann) == [eve]


async def test_a_pair_meets_again_after_seven_days(people: People) -> None:
    """A declined pair is kept apart for seven days and no longer."""
    ann, ben = await people.join_many(2)
    await people.answer(await people.invite(ann, ben), "DECLINE")
    await people.let_pass(timedelta(days=6, hours=23))
    assert await people.candidates(ann) == []
    await people.let_pass(timedelta(hours=2))
    assert await people.candidates(ann) == [ben]
    assert await people.candidates(ben) == [ann]


async def test_an_accepted_pair_does_not_meet_again(people: People) -> None:
    """Who accepted one another are no candidates of one another however long the match lives."""
    ann, ben = await people.join_many(2)
    await people.answer(await people.invite(ann, ben), "ACCEPT")
    await people.let_pass(timedelta(days=400))
    assert await people.candidates(ann) == []


async def test_changes_of_a_profile_count_at_once(people: People) -> None:
    """A new place, level, limit and activity decide about the next list."""
    seeker, other = await people.join_many(2)
    far = north_of(VIENNA, 100)
    for place, fields in (
        (far, {}),
        (VIENNA, {"experience_level": "ADVANCED", "active": False}),
        (north_of(VIENNA, 3), {"max_travel_miles": 2}),
    ):
        await people.store.upsert_profile(new_profile(other, place, **fields))
        assert await people.candidates(seeker) == []
        await people.store.upsert_profile(new_profile(other, VIENNA))
        assert await people.candidates(seeker) == [other]


async def test_inactive_and_unknown_people_cannot_look(people: People) -> None:
    """Looking for candidates takes an active profile."""
    inactive = await people.join(active=False)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await people.candidates(inactive)
    assert caught.value.reason == "PROFILE_INACTIVE"
    with pytest.raises(errors.NotFound) as missing:
        await people.candidates(people.new_id())
    assert missing.value.reason == "PROFILE_NOT_FOUND"
