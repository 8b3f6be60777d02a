"""People who do not exist: the same for the same seed, as the rules want them, and found by matching."""

import zoneinfo
from itertools import islice

import asyncpg
import pytest

from support.databases import fresh_database
from support.people import open_people
from wingmanmatch_server import seeding
from wingmanmatch_server.seeding import METROS, people, seed_people

COUNT = 400
EVERYBODY = (
    "select * from user_profiles join user_locations on user_id = id join match_pool using (user_id) order by id"
)


async def settled(admin_dsn: str, *seeds: int) -> tuple[list[int], list[dict[str, object]]]:
    """Settle people by each seed in turn; return what was told, and everybody."""
    told: list[int] = []
    async with fresh_database(admin_dsn) as dsn:
        for seed in seeds:
            await seed_people(dsn, COUNT, seed=seed, tell=told.append)
        sql = await asyncpg.connect(dsn)
        rows = [dict(row) for row in await sql.fetch(EVERYBODY)]
        await sql.close()
    times = ("create_time", "update_time")
    return told, [{name: value for name, value in row.items() if name not in times} for row in rows]


async def test_same_seed_same_people(admin_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed gives the same people everywhere, in chunks of any size; settled twice they are there once."""
    told, once = await settled(admin_dsn, 1)
    monkeypatch.setattr(seeding, "CHUNK", 150)
    told_again, twice = await settled(admin_dsn, 1, 1)
    assert (told, told_again) == ([COUNT], [150, 150, 100] * 2)
    assert len(once) == COUNT
    assert once == twice


async def test_other_seed_other_people(admin_dsn: str) -> None:
    """People of two seeds live side by side."""
    _, rows = await settled(admin_dsn, 1, 2)
    assert len(rows) == 2 * COUNT


async def test_seeded_people_find_one_another(admin_dsn: str) -> None:
    """They are in the pool, near enough to one another for candidates, and of all kinds."""
    async with fresh_database(admin_dsn) as dsn:
        await seed_people(dsn, COUNT, seed=1, tell=lambda _count: None)
        async with open_people(dsn) as living:
            query = "select id::text from user_profiles where active and city = $1 limit 5"
            for (user_id,) in await living.sql.fetch(query, METROS[0].name):
                assert await living.candidates(user_id)
            kinds = await living.sql.fetchrow(
                "select count(distinct experience_level) as levels, count(distinct confidence_archetype) as archetypes,"
                " count(distinct location_privacy) as privacies, count(distinct active) as activities"
                " from user_profiles"
            )
            assert tuple(kinds) == (3, 6, 2, 2)


def test_nobody_is_written_to() -> None:
    """Every address is at a domain that is reserved for examples, and differs from every other."""
    addresses = [person[1] for person in islice(people(1), COUNT)]
    assert len(set(addresses)) == COUNT
    assert all(address.endswith("@example.org") for address in addresses)


def test_metros_have_time_zones_that_exist() -> None:
    """Every city's time zone is one of the IANA names."""
    assert {metro.time_zone for metro in METROS} <= zoneinfo.available_timezones()
