"""Challenges of a database for tests: people who take them on, and a catalogue whose reads can be counted and held."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg

from support.databases import fresh_database, open_database
from support.people import VIENNA, People
from wingmanmatch_server.bootstrap.breakers import REDIS_LIMITS
from wingmanmatch_server.bootstrap.challenge import COPIES_TTL
from wingmanmatch_server.challenge.catalogue import Catalogue
from wingmanmatch_server.challenge.copies import PATIENCE, RedisCopies
from wingmanmatch_server.challenge.rows import Challenge, ChallengeList, UserChallenge
from wingmanmatch_server.challenge.store import ChallengeStore
from wingmanmatch_server.drivers.redis import RedisServer
from wingmanmatch_server.matching.store import MatchingStore
from wingmanmatch_server.resilience.breaker import Breaker

DURATION_DAYS = 7


class Challenges:
    """Those of one database: `store` acts as the server does, `people` makes those who take them on."""

    def __init__(self, store: ChallengeStore, people: People) -> None:
        self.store = store
        self.people = people
        self.sql = people.sql

    async def catalogue(self) -> Sequence[Challenge]:
        """Return the catalogue."""
        return (await self.store.list_challenges()).challenges

    async def start(self, user_id: str, place: int = 0) -> UserChallenge:
        """Let a person take the challenge at a place of the catalogue on, and return the attempt."""
        challenge = (await self.catalogue())[place]
        return await self.store.start(user_id, challenge.id)

    async def add(self, title: str) -> None:
        """Add a challenge to the catalogue."""
        await self.sql.execute(
            """insert into approach_challenges (title, description, difficulty, points)
            values ($1, 'Try it.', 'BEGINNER', 1)""",
            title,
        )

    async def let_pass(self, span: timedelta) -> None:
        """Make all attempts and links so much older."""
        for table in ("user_challenges", "share_links"):
            await self.sql.execute(
                f"update {table} set create_time = create_time - $1::interval, expire_time = expire_time - $1", span
            )


@asynccontextmanager
async def open_challenges(admin_dsn: str, transport: str) -> AsyncIterator[Challenges]:
    """Open a database of their own over a transport."""
    async with fresh_database(admin_dsn) as dsn, open_database(dsn, transport) as database:
        sql = await asyncpg.connect(dsn)
        try:
            people = People(MatchingStore(database, max_daily_matches=10), sql, random.Random(7))
            yield Challenges(ChallengeStore(database, duration_days=DURATION_DAYS), people)
        finally:
            await sql.close()


async def somebody(challenges: Challenges, **fields: Any) -> str:
    """Return the id of somebody new."""
    return await challenges.people.join(VIENNA, **fields)


class HeldSource:
    """The catalogue of a store; counts what is asked, and can hold answers back."""

    def __init__(self, store: ChallengeStore) -> None:
        self.reads = 0
        self.checks = 0
        self.answered = asyncio.Event()
        self._store = store
        self._gate = asyncio.Event()
        self._gate.set()

    def hold(self) -> Callable[[], None]:
        """Hold the answers from now on, and return what releases them."""
        self._gate = asyncio.Event()
        return self._gate.set

    def let_through(self) -> None:
        """Let the answers from now on through; those held stay held."""
        self._gate = asyncio.Event()
        self._gate.set()

    async def list_challenges(self) -> ChallengeList:
        """Ask the store, and return its answer once it is let through."""
        self.reads += 1
        gate = self._gate
        answer = await self._store.list_challenges()
        self.answered.set()
        await gate.wait()
        return answer

    async def get_version(self, known_version: str) -> str:
        """Ask the store, and return its answer once it is let through."""
        self.checks += 1
        gate = self._gate
        answer = await self._store.get_version(known_version)
        self.answered.set()
        await gate.wait()
        return answer


class Replica:
    """One process's catalogue, and where its reads found it. `now` is its breaker's time, in seconds."""

    def __init__(
        self, challenges: Challenges, redis: RedisServer, *, ttl: timedelta = COPIES_TTL, patience: float = PATIENCE
    ) -> None:
        self.now = 0.0
        self.places: list[str] = []
        self.source = HeldSource(challenges.store)
        self.breaker = Breaker("redis", REDIS_LIMITS, lambda: self.now)
        copies = RedisCopies(redis, self.breaker, ttl=ttl, patience=patience)
        self.catalogue = Catalogue(self.source, copies, time.monotonic, self.places.append)

    async def titles(self) -> set[str]:
        """Return the titles in the catalogue."""
        return {each.title for each in await self.catalogue.challenges()}
