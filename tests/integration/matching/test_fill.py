"""The migration that brings the places of match_pool to stand-ins."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from support.places import cell_of
from support.versions import MIGRATIONS
from wingmanmatch_server.seeding import seed_people

PEOPLE = 2500
POOL = """
select p.user_id::text, p.latitude, p.longitude, p.coarse, l.latitude as true_latitude, l.longitude as true_longitude
from match_pool p join user_locations l using (user_id)
"""


def fill() -> str:
    """Return the statement of the migration."""
    (file,) = Path(MIGRATIONS).glob("*_fill_stand_ins.sql")
    return file.read_text("utf-8")


async def true_places(sql: asyncpg.Connection) -> None:
    """Put people where the version before had them: at their true places, but for those who show only the city."""
    await sql.execute(
        """update match_pool m set latitude = l.latitude, longitude = l.longitude
        from user_locations l where l.user_id = m.user_id and not m.coarse"""
    )


async def test_everybody_gets_a_stand_in(fresh_database_dsn: str) -> None:
    """Every true place becomes the stand-in of its cell, those of the city stay, and once more changes nothing."""
    await seed_people(fresh_database_dsn, PEOPLE, seed=3, tell=lambda _count: None)
    sql = await asyncpg.connect(fresh_database_dsn)
    try:
        await true_places(sql)
        for _ in range(2):
            await sql.execute(fill())
            rows = await sql.fetch(POOL)
            assert len(rows) == PEOPLE
            assert 0 < sum(row["coarse"] for row in rows) < PEOPLE
            for row in rows:
                cell = cell_of((row["true_latitude"], row["true_longitude"]), city_only=row["coarse"])
                assert (row["latitude"], row["longitude"]) == pytest.approx(cell.stand_in(row["user_id"]), abs=1e-11)
    finally:
        await sql.close()


async def test_fill_waits_for_who_is_still_to_commit(fresh_database_dsn: str) -> None:
    """A true place that is committed while the migration begins becomes a stand-in, too."""
    await seed_people(fresh_database_dsn, 50, seed=3, tell=lambda _count: None)
    sql, late = [await asyncpg.connect(fresh_database_dsn) for _ in range(2)]
    try:
        transaction = late.transaction()
        await transaction.start()
        await true_places(late)
        filling = asyncio.create_task(sql.execute(fill()))
        await _until_it_waits(late)
        await transaction.commit()
        await filling
        for row in await sql.fetch(POOL):
            assert row["coarse"] or row["latitude"] != row["true_latitude"]
    finally:
        await sql.close()
        await late.close()


async def _until_it_waits(connection: asyncpg.Connection) -> None:
    waiting = "select exists (select from pg_locks where not granted and relation = 'match_pool'::regclass)"
    async with asyncio.timeout(10):
        while not await connection.fetchval(waiting):
            await asyncio.sleep(0.01)
