"""`wingmanmatch seed`: people who do not exist, living where people live, for trying things out and for benchmarks.

One seed gives the same people in every run. Their addresses are at example.org, which belongs to nobody.
"""

import math
import random
import uuid
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from typing import Any, NamedTuple

import asyncpg

CHUNK = 5000
SPREAD_DEGREES = 0.116  # some eight miles
STATEMENT_TIMEOUT = 120.0


class Metro(NamedTuple):
    """A city, where it is, and when it is there."""

    name: str
    latitude: float
    longitude: float
    time_zone: str


# The first is the largest: the n-th has an n-th of its people.
METROS = (
    Metro("New York", 40.713, -74.006, "America/New_York"),
    Metro("London", 51.507, -0.128, "Europe/London"),
    Metro("Los Angeles", 34.052, -118.244, "America/Los_Angeles"),
    Metro("Chicago", 41.878, -87.630, "America/Chicago"),
    Metro("Berlin", 52.520, 13.405, "Europe/Berlin"),
    Metro("Paris", 48.857, 2.352, "Europe/Paris"),
    Metro("Toronto", 43.653, -79.383, "America/Toronto"),
    Metro("San Francisco", 37.775, -122.419, "America/Los_Angeles"),
    Metro("Madrid", 40.417, -3.704, "Europe/Madrid"),
    Metro("Sydney", -33.869, 151.209, "Australia/Sydney"),
    Metro("Vienna", 48.208, 16.374, "Europe/Vienna"),
    Metro("Houston", 29.760, -95.370, "America/Chicago"),
    Metro("Amsterdam", 52.367, 4.904, "Europe/Amsterdam"),
    Metro("Boston", 42.360, -71.059, "America/New_York"),
    Metro("Munich", 48.135, 11.582, "Europe/Berlin"),
    Metro("Melbourne", -37.814, 144.963, "Australia/Melbourne"),
    Metro("Seattle", 47.606, -122.332, "America/Los_Angeles"),
    Metro("Barcelona", 41.385, 2.173, "Europe/Madrid"),
    Metro("Denver", 39.739, -104.990, "America/Denver"),
    Metro("Manchester", 53.481, -2.242, "Europe/London"),
    Metro("Rome", 41.903, 12.496, "Europe/Rome"),
    Metro("Atlanta", 33.749, -84.388, "America/New_York"),
    Metro("Dublin", 53.350, -6.260, "Europe/Dublin"),
    Metro("Stockholm", 59.329, 18.069, "Europe/Stockholm"),
    Metro("Montreal", 45.502, -73.567, "America/Toronto"),
    Metro("Zurich", 47.377, 8.541, "Europe/Zurich"),
    Metro("Austin", 30.267, -97.743, "America/Chicago"),
    Metro("Copenhagen", 55.676, 12.568, "Europe/Copenhagen"),
    Metro("Prague", 50.075, 14.437, "Europe/Prague"),
    Metro("Lisbon", 38.722, -9.139, "Europe/Lisbon"),
    Metro("Vancouver", 49.283, -123.121, "America/Vancouver"),
    Metro("Auckland", -36.848, 174.763, "Pacific/Auckland"),
    Metro("Phoenix", 33.448, -112.074, "America/Phoenix"),
    Metro("Warsaw", 52.230, 21.012, "Europe/Warsaw"),
    Metro("Cape Town", -33.925, 18.424, "Africa/Johannesburg"),
    Metro("Singapore", 1.352, 103.820, "Asia/Singapore"),
    Metro("Helsinki", 60.170, 24.938, "Europe/Helsinki"),
    Metro("Buenos Aires", -34.604, -58.382, "America/Argentina/Buenos_Aires"),
    Metro("Nairobi", -1.292, 36.822, "Africa/Nairobi"),
    Metro("Honolulu", 21.307, -157.858, "Pacific/Honolulu"),
)
WEIGHTS = tuple(accumulate(1 / rank for rank in range(1, len(METROS) + 1)))
FIRST_NAMES = (
    *("Ada", "Alex", "Amara", "Ben", "Carla", "Chidi", "Dana", "Elif", "Emil", "Farah"),
    *("Felix", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jamal", "Jonas", "Kai", "Keiko"),
    *("Lars", "Leila", "Liam", "Lucia", "Maya", "Mei", "Milan", "Nadia", "Noah", "Nora"),
    *("Omar", "Paula", "Pedro", "Quinn", "Rosa", "Ravi", "Sam", "Sofia", "Tariq", "Tess"),
    *("Uma", "Viktor", "Wanda", "Xenia", "Yara", "Yusuf", "Zoe"),
)
LAST_NAMES = (
    "Adler",
    "Brandt",
    "Costa",
    "Duarte",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ito",
    "Jansen",
    "Keller",
    "Lindgren",
    "Moreau",
)
BIOS = (
    "Says hello first.",
    "Better one to one than in a crowd.",
    "Practising to start conversations, and to end them well.",
    "New in town, and curious about everybody.",
    "Happy to go first if you go second.",
    "Likes markets, museums and long walks.",
    "",
)
LEVELS, LEVEL_WEIGHTS = ("BEGINNER", "INTERMEDIATE", "ADVANCED"), (3, 5, 2)
CITY_ONLY_SHARE, INACTIVE_SHARE = 0.2, 0.1
ARCHETYPES = ("ANALYZER", "SPRINTER", "GHOST", "SCHOLAR", "NATURALIST", "PROTECTOR")

COLUMNS = (
    *("id", "email", "first_name", "last_name", "bio", "photo_url", "experience_level", "confidence_archetype"),
    *("city", "location_privacy", "max_travel_miles", "time_zone", "locale", "active", "latitude", "longitude"),
)
STAGE = """
create temporary table seeded on commit drop as
select p.*, l.latitude, l.longitude from public.user_profiles p, public.user_locations l with no data
"""
SETTLE = """
insert into public.user_profiles (
    id, email, first_name, last_name, bio, photo_url, experience_level, confidence_archetype, city, location_privacy,
    max_travel_miles, time_zone, locale, active)
select
    id, email, first_name, last_name, bio, photo_url, experience_level, confidence_archetype, city, location_privacy,
    max_travel_miles, time_zone, locale, active
from seeded
on conflict (id) do nothing;
insert into public.user_locations (user_id, latitude, longitude)
select id, latitude, longitude from seeded
on conflict (user_id) do nothing;
select count(internal.enter_match_pool(id)) from seeded;
"""


def people(seed: int) -> Iterator[tuple[Any, ...]]:
    """Yield people without end, as values of `COLUMNS`; the same for the same seed."""
    source = random.Random(seed)  # noqa: S311 - guards nothing
    while True:
        yield _person(source)


def _person(source: random.Random) -> tuple[Any, ...]:
    metro = source.choices(METROS, cum_weights=WEIGHTS)[0]
    # Normally distributed around the centre.
    reach = SPREAD_DEGREES * math.sqrt(-2 * math.log(1 - source.random()))
    direction = source.uniform(0, 2 * math.pi)
    latitude = metro.latitude + reach * math.sin(direction)
    longitude = metro.longitude + reach * math.cos(direction) / math.cos(math.radians(metro.latitude))
    user_id = uuid.UUID(int=source.getrandbits(128), version=4)
    first_name = source.choice(FIRST_NAMES)
    return (
        user_id,
        f"{first_name.lower()}.{user_id.hex[:12]}@example.org",
        first_name,
        source.choice(LAST_NAMES),
        source.choice(BIOS),
        "",
        source.choices(LEVELS, LEVEL_WEIGHTS)[0],
        source.choice(ARCHETYPES),
        metro.name,
        "CITY_ONLY" if source.random() < CITY_ONLY_SHARE else "PRECISE",  # as APPROXIMATE is stored
        source.choice((10, 20, 20, 50)),
        metro.time_zone,
        "en",
        source.random() >= INACTIVE_SHARE,
        latitude,
        longitude,
    )


async def seed_people(dsn: str, count: int, *, seed: int, tell: Callable[[int], None]) -> None:
    """Settle the first `count` people of a seed; who lives there already stays as they are.

    `tell` is called with the number of people of each transaction. Raises asyncpg.PostgresError and OSError.
    """
    connection = await asyncpg.connect(dsn, command_timeout=STATEMENT_TIMEOUT, statement_cache_size=0)
    try:
        everybody = islice(people(seed), count)
        while chunk := list(islice(everybody, CHUNK)):
            async with connection.transaction():
                await connection.execute(STAGE)
                await connection.copy_records_to_table("seeded", records=chunk, columns=COLUMNS)
                await connection.execute(SETTLE)
            tell(len(chunk))
        # Plans of the first searches would otherwise be made for an empty table.
        await connection.execute("analyze public.user_profiles, public.user_locations, public.match_pool")
    finally:
        await connection.close()
