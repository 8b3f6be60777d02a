"""A server that is started while its database refuses changes."""

import asyncio
from pathlib import Path

import grpc
import pytest

from support.databases import execute
from support.requests import TIMEOUT
from support.server import serving_application
from wingmanmatch.challenge.v1.challenge_service_pb2 import ListChallengesRequest
from wingmanmatch.notification.v1.notification_pb2 import KindPreference
from wingmanmatch.notification.v1.notification_service_pb2 import UpdatePreferencesRequest
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

PERSON = "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0001"


async def test_reads_are_served(
    fresh_database_dsn: str, admin_dsn: str, engines: EmbeddedEngines, tmp_path: Path
) -> None:
    """It starts, serves reads, refuses changes for now, and takes them once the database does."""
    name = fresh_database_dsn.partition("?")[0].rpartition("/")[2]
    await execute(fresh_database_dsn, f"alter database {name} set default_transaction_read_only = on")
    async with serving_application(fresh_database_dsn, engines.redis_url, tmp_path) as client:
        assert (await client.challenge.ListChallenges(ListChallengesRequest(), timeout=TIMEOUT)).challenges
        change = UpdatePreferencesRequest(
            user_id=PERSON, kinds=[KindPreference(kind="NOTIFICATION_KIND_MATCH_DECLINE")]
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.notification.UpdatePreferences(change, timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await execute(admin_dsn, f"alter database {name} reset default_transaction_read_only")
        async with asyncio.timeout(5):
            while await code_of(client.notification.UpdatePreferences(change, timeout=TIMEOUT)) == "UNAVAILABLE":
                await asyncio.sleep(0.05)


async def code_of(call: grpc.aio.UnaryUnaryCall) -> str:
    """Return the name of the status with which a call ends."""
    return (await call.code()).name
