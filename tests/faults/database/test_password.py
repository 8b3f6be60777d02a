"""The password for the database changes while the server runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from support.postgres_pair import DATABASE, PostgresServer, primary_and_standby
from support.requests import join
from support.server import serving_application
from support.stubs import Stubs
from support.timeline import PACE
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

ROLE = "service_account"
CUT = f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{ROLE}'"
RECOVERY = 5.0  # seconds


@pytest.fixture
async def server() -> AsyncIterator[PostgresServer]:
    """A server that wants a password of one role."""
    async with primary_and_standby() as (primary, _):
        rules = primary.folder / "pg_hba.conf"
        rules.write_text(f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        create = f"create role {ROLE} login in role service_role, anon"
        await primary.execute(create, "select pg_reload_conf()")
        await change_password(primary, "first")
        yield primary


async def change_password(server: PostgresServer, password: str) -> None:
    """Give the role another password."""
    await server.execute(f"alter role {ROLE} password '{password}'")


async def read(client: Stubs, user_id: str) -> str:
    """Return the status of a read."""
    try:
        await client.matching.GetProfile(matching_service_pb2.GetProfileRequest(user_id=user_id), timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def becomes(client: Stubs, user_id: str, status: str) -> None:
    """Wait until reads end so."""
    async with asyncio.timeout(RECOVERY):
        while await read(client, user_id) != status:
            await asyncio.sleep(PACE)


async def test_password_is_read_for_each_connection(
    server: PostgresServer, engines: EmbeddedEngines, tmp_path: Path
) -> None:
    """With another password in the file new connections are made with it; with the old one they are UNAVAILABLE."""
    file = tmp_path / "password"
    file.write_text("first\n")
    dsn = f"postgresql://{ROLE}:ignored@127.0.0.1:{server.port}/{DATABASE}"
    settings = {"database_url": dsn, "database_password_file": file, "enable_rate_limiting": False}
    async with serving_application(dsn, engines.redis_url, tmp_path / "server", **settings) as client:
        person = await join(client)
        await change_password(server, "second")
        assert await read(client, person.user_id) == "OK"
        await server.execute(CUT)
        await becomes(client, person.user_id, "UNAVAILABLE")
        file.write_text("second")
        await becomes(client, person.user_id, "OK")
