"""A whole server that asks for credentials, at the shipped values but for its rate limits, and its database."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from support.credentials import KEY, SETTINGS, bearer, user_token
from support.databases import fresh_database
from support.requests import TIMEOUT
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


class Target:
    """The server under attack; `sql` may do anything in its database, `outbox` is where its emails go."""

    def __init__(self, client: Stubs, sql: asyncpg.Connection, outbox: Path) -> None:
        self.client = client
        self.sql = sql
        self.outbox = outbox

    def upsert(self, person: matching_pb2.Profile, credential: str = KEY) -> Any:
        """Call UpsertProfile."""
        request = matching_service_pb2.UpsertProfileRequest(profile=person)
        return self.client.matching.UpsertProfile(request, timeout=TIMEOUT, metadata=bearer(credential))

    def upsert_as_user(self, person: matching_pb2.Profile, **claims: Any) -> Any:
        """Call UpsertProfile by a token of the person's own."""
        return self.upsert(person, user_token(person.user_id, **claims))

    async def stored(self, user_id: str) -> asyncpg.Record | None:
        """Return the profile as the database has it."""
        return await self.sql.fetchrow("select * from public.user_profiles where id = $1::uuid", user_id)


@pytest.fixture(scope="package")
async def target(
    admin_dsn: str, engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Target]:
    """Serve, with one host for pictures."""
    folder = tmp_path_factory.mktemp("profile")
    settings = SETTINGS | {"rate_limits_file": roomy_limits(folder), "photo_hosts": "images.example.org"}
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, engines.redis_url, folder, **settings) as client,
    ):
        sql = await asyncpg.connect(dsn)
        try:
            yield Target(client, sql, folder / "outbox")
        finally:
            await sql.close()
