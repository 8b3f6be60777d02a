"""Mutations that meet: callers who change, all at once, what is stored about one pair of people."""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from support.mutations import MUTATIONS, Pair
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.postgres import open_postgres

CALLERS = 16
GROUP = 4
# What the two are to one another. lock_order.sql makes it so.
SITUATIONS = ("asked", "lapsed", "matched", "begun", "overdue", "blocked")
SETTLE = Path(__file__).with_name("lock_order.sql")
MUTATING = """
select p.proname from pg_proc p
where p.pronamespace = 'public'::regnamespace and p.provolatile = 'v' and p.prorettype <> 'trigger'::regtype
"""


def pairs_of_mutations() -> list[tuple[str, ...]]:
    """Return every pair of functions, each with itself as well, for so many callers as there are."""
    names = sorted(MUTATIONS)
    return [(first, second) * (CALLERS // 2) for place, first in enumerate(names) for second in names[place:]]


def blocks_of_mutations(source: random.Random) -> list[tuple[str, ...]]:
    """Return sets of functions in which each pair of functions meets at least once, for as many callers."""
    names = source.sample(sorted(MUTATIONS), len(MUTATIONS))
    groups = [names[place : place + GROUP] for place in range(0, len(names), GROUP)]
    return [(*first, *second) * (CALLERS // 2 // GROUP) for first, second in combinations(groups, 2)]


def drives(rounds: Iterable[Sequence[str]], turns: int) -> list[tuple[Sequence[str], str]]:
    """Return each round in each situation, so many times."""
    return [(functions, situation) for functions in rounds for situation in SITUATIONS for _ in range(turns)]


class Matrix:
    """A database of its own on which mutations meet."""

    def __init__(self, database: Database, sql: asyncpg.Connection, source: random.Random) -> None:
        """Keep the ways in: `database` for the callers, `sql` of the superuser."""
        self._database = database
        self._sql = sql
        self._source = source
        self.outcomes: Counter[tuple[str, str]] = Counter()

    async def mutating_functions(self) -> set[str]:
        """Return the functions that may write; PostgreSQL lets no other write than a volatile one."""
        return {row["proname"] for row in await self._sql.fetch(MUTATING)}

    async def settle(self, situation: str) -> Pair:
        """Empty the database, and put two people into a situation."""
        people = self._new_id(), self._new_id()
        found = await self._sql.fetchval("select lock_order.settle($1, $2, $3)", *people, situation)
        return Pair(people, json.loads(found), self._source)

    async def meet(self, functions: Sequence[str], situation: str) -> None:
        """Call all the functions at once, with arguments about one pair of people."""
        pair = await self.settle(situation)
        calls = [(name, MUTATIONS[name](pair)) for name in self._source.sample(functions, len(functions))]
        await asyncio.gather(*(self._call(name, arguments) for name, arguments in calls))

    async def _call(self, name: str, arguments: dict[str, Any]) -> None:
        outcome = "done"
        try:
            await self._database.call(name, **arguments)
        except errors.DomainError as error:
            outcome = error.reason
        self.outcomes[name, outcome] += 1

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._source.getrandbits(128), version=4))


@asynccontextmanager
async def open_matrix(dsn: str, source: random.Random) -> AsyncIterator[Matrix]:
    """Open an empty database for `CALLERS` at once."""
    sql = await asyncpg.connect(dsn)
    try:
        await sql.execute(SETTLE.read_text("utf-8"))
        async with open_postgres(dsn, max_connections=CALLERS) as database:
            yield Matrix(database, sql, source)
    finally:
        await sql.close()


async def count_deadlocks(admin_dsn: str, dsn: str) -> int:
    """Return how many deadlocks there were in a database, once all its connections are closed.

    A connection reports what it counted at the latest when it ends, before it leaves pg_stat_activity.
    """
    name = urlsplit(dsn).path.removeprefix("/")
    sql = await asyncpg.connect(admin_dsn)
    try:
        while await sql.fetchval("select exists (select from pg_stat_activity where datname = $1)", name):
            await asyncio.sleep(0.01)
        found: int = await sql.fetchval("select deadlocks from pg_stat_database where datname = $1", name)
        return found
    finally:
        await sql.close()
