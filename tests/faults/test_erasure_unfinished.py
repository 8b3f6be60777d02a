"""People who are erased while Redis is away: gone from the database at once, and from Redis once it is back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from support.databases import fresh_database
from support.edge import failure_of
from support.requests import TIMEOUT, join
from support.server import serving_application
from support.valkey import OwnValkey, own_valkey
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch_server.bootstrap.matching import EXPIRY_INTERVAL
from wingmanmatch_server.drivers.redis import open_redis

DELETED_WITHIN = 10.0  # seconds, the deadline of DeleteProfile: all places in Redis are waited for at once
# For a minute others leave it to the server that began; then it is done at the next interval.
CLEANED_UP_WITHIN = 60 + EXPIRY_INTERVAL + TIMEOUT


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    """A Valkey of the test's own."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    with own_valkey(folder) as valkey:
        yield valkey


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_redis_is_cleaned_up_when_it_is_back(admin_dsn: str, valkey: OwnValkey, tmp_path: Path) -> None:
    """DeleteProfile succeeds while Redis is frozen; a background task ends the sessions once it answers again."""
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, valkey.url, tmp_path / "server", enable_rate_limiting=False) as client,
        open_redis(valkey.url) as redis,
    ):
        me = (await join(client)).user_id
        opening = session_service_pb2.CreateSessionRequest(user_id=me)
        await client.session.CreateSession(opening, timeout=TIMEOUT)
        assert await redis.client.keys("session:*:token:*")
        valkey.send(SIGSTOP)
        request = matching_service_pb2.DeleteProfileRequest(user_id=me)
        await client.matching.DeleteProfile(request, timeout=DELETED_WITHIN)
        call = client.matching.GetProfile(matching_service_pb2.GetProfileRequest(user_id=me), timeout=TIMEOUT)
        assert (await failure_of(call)).reason == "PROFILE_NOT_FOUND"
        valkey.send(SIGCONT)
        async with asyncio.timeout(CLEANED_UP_WITHIN):
            while await redis.client.keys("session:*:token:*"):
                await asyncio.sleep(0.05)
