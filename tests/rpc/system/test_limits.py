"""The limits that settings make, on the whole server."""

from pathlib import Path

import grpc

from support.edge import failure_of
from support.limiters import serving_limits
from support.requests import TIMEOUT, join
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server.connections import ConnectionLimits
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.serving import connection_limits
from wingmanmatch_server.settings import Settings


def test_defaults_are_the_documented_ones() -> None:
    """Settings that nobody changed are the limits that the code has without them."""
    assert connection_limits(Settings(_env_file=None)) == ConnectionLimits()


def test_no_call_is_cut_before_its_deadline() -> None:
    """Calls on a connection past its age have as long as the greatest deadline; the rest is as set."""
    settings = Settings(
        _env_file=None, max_connection_age=7, max_deadline=9, max_connections=11, max_concurrent_streams=13
    )
    limits = connection_limits(settings)
    assert (limits.max_age, limits.age_grace, limits.max_connections, limits.max_streams) == (7, 9, 11, 13)


async def test_places_are_counted(fresh_database_dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """A stream beyond MAX_OPEN_STREAMS is refused and counted, while calls have places of their own."""
    async with serving_limits(fresh_database_dsn, engines.redis_url, tmp_path, max_open_streams=1) as served:
        user_id = (await join(served.client)).user_id
        request = matching_service_pb2.WatchMatchesRequest(user_id=user_id)
        first = served.client.matching.WatchMatches(request)
        await first.read()
        failure = await failure_of(served.client.matching.WatchMatches(request, timeout=TIMEOUT).read())
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert served.sample("wingmanmatch_rpcs_overloaded_total") == 1
        await join(served.client)
        first.cancel()
