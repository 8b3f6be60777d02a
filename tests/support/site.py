"""A server as attackers meet it, at the shipped limits and asking for credentials, and the ways to look inside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg

from support.credentials import SETTINGS
from support.databases import fresh_database
from support.people import age_everything
from support.server import serving_application
from support.stubs import Stubs
from wingmanmatch_server.drivers.redis import RedisServer, open_redis


@dataclass
class Site:
    """A client without credentials; the database as its superuser; Redis; and the server's data folder."""

    client: Stubs
    sql: asyncpg.Connection
    redis: RedisServer
    folder: Path

    async def let_pass(self, span: timedelta) -> None:
        """Make all that has happened in the database so much older."""
        await age_everything(self.sql, span)


@asynccontextmanager
async def serving_site(admin_dsn: str, redis_url: str, folder: Path) -> AsyncIterator[Site]:
    """Serve on a database of its own and a database of Redis that is emptied; Claude is asked where the SDK looks."""
    async with fresh_database(admin_dsn) as dsn, open_redis(redis_url) as redis:
        await redis.client.flushdb()
        sql = await asyncpg.connect(dsn)
        try:
            async with serving_application(
                dsn, redis_url, folder, anthropic_api_key="sk-ant-test", **SETTINGS
            ) as client:
                yield Site(client, sql, redis, folder)
        finally:
            await sql.close()
