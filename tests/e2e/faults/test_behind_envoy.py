"""What Envoy, with the sample configuration, makes of replicas that die, answer errors, or all turn away."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import grpc
import pytest

from support.databases import fresh_database
from support.envoy import needs_envoy
from support.replicas import CALLERS, Replica, handled, loaded, two_replicas
from support.requests import TIMEOUT, join_pair, profile
from support.stubs import Stubs, open_stubs
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.session.v1 import session_service_pb2

pytestmark = [needs_envoy, pytest.mark.timeout(180)]

EJECTED_AFTER = 3  # errors of a connection; the sample's consecutive_local_origin_failure


@pytest.fixture
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """A database that the replicas share."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture
async def replicas(dsn: str, tmp_path: Path) -> AsyncIterator[tuple[list[Replica], Stubs, int]]:
    """Two replicas without Redis, so that sessions are UNAVAILABLE; stubs through Envoy, and its port."""
    away = f"unix://{tmp_path}/none.sock"
    async with (
        two_replicas(dsn, away, tmp_path, DRAIN_DELAY="60") as (replicas, port),
        open_stubs(f"127.0.0.1:{port}") as client,
    ):
        yield replicas, client, port


async def spread(client: Stubs, replicas: list[Replica]) -> None:
    """Call until each of the replicas has had more calls."""
    before = [await count(replica) for replica in replicas]
    async with asyncio.timeout(30):
        while not all([await count(replica) > had for replica, had in zip(replicas, before, strict=True)]):
            request = matching_service_pb2.UpsertProfileRequest(profile=profile())
            await asyncio.gather(*(client.matching.UpsertProfile(request, timeout=TIMEOUT) for _ in range(4)))


async def count(replica: Replica, **labels: str) -> float:
    """Return how many calls a replica has handled."""
    assert replica.served
    return await asyncio.to_thread(handled, replica.served.metrics, **labels)


async def test_errors_take_no_replica_out(replicas: tuple[list[Replica], Stubs, int]) -> None:
    """Eighty answers of UNAVAILABLE, which every replica would give, leave every replica in."""
    both, client, _ = replicas
    await spread(client, both)
    request, codes = session_service_pb2.GetSessionRequest(token="x" * 43), []
    for _ in range(80):
        try:
            await client.session.GetSession(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            codes.append(error.code())
    refused = [await count(replica, grpc_code="UNAVAILABLE") for replica in both]
    assert min(refused) > 20
    assert len(codes) == sum(refused) == 80
    await spread(client, both)


async def test_killed_replica_costs_what_was_under_way(replicas: tuple[list[Replica], Stubs, int]) -> None:
    """After kill -9 only calls that were under way fail, the rest goes on, and a replica that is back is called."""
    both, client, port = replicas
    await spread(client, both)
    async with loaded(port) as load:
        await asyncio.gather(*(replica.gets_calls() for replica in both))
        await asyncio.to_thread(both[0].kill)
        done = load.done
        while load.done < done + 200:
            await asyncio.sleep(0.05)
    assert len(load.failed) <= CALLERS + EJECTED_AFTER
    await both[0].start()
    await spread(client, both)


async def test_request_asked_again_after_a_kill_has_one_effect(
    replicas: tuple[list[Replica], Stubs, int], dsn: str
) -> None:
    """Sixteen invitations meet kill -9; those left without an answer are sent again as they were, and each is one."""
    both, client, _ = replicas
    await spread(client, both)
    pairs = [await join_pair(client) for _ in range(16)]
    requests = [
        matching_service_pb2.RequestMatchRequest(
            user_id=requester, candidate_user_id=invitee, request_id=str(uuid.uuid4())
        )
        for requester, invitee in pairs
    ]
    calls = [asyncio.ensure_future(client.matching.RequestMatch(each, timeout=TIMEOUT)) for each in requests]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(both[0].kill)
    first = await asyncio.gather(*calls, return_exceptions=True)
    again = [await answered(client, each) for each in requests]
    for before, after in zip(first, again, strict=True):
        assert isinstance(before, grpc.aio.AioRpcError) or before.match.id == after.match.id
    sql = await asyncpg.connect(dsn)
    try:
        assert await sql.fetchval("select count(*) from matches") == len(pairs)
    finally:
        await sql.close()


async def answered(
    client: Stubs, request: matching_service_pb2.RequestMatchRequest
) -> matching_service_pb2.RequestMatchResponse:
    """Send the request, unchanged, until it is answered."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await client.matching.RequestMatch(request, timeout=TIMEOUT)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise


async def test_cancelled_call_is_cancelled_behind_envoy(replicas: tuple[list[Replica], Stubs, int]) -> None:
    """A client that leaves a stream leaves nothing open behind the proxy."""
    both, client, _ = replicas
    await spread(client, both)
    sent = profile(user_id=str(uuid.uuid4()))
    await client.matching.UpsertProfile(matching_service_pb2.UpsertProfileRequest(profile=sent), timeout=TIMEOUT)
    calls = [client.matching.WatchMatches(matching_service_pb2.WatchMatchesRequest(user_id=sent.user_id)) for _ in "12"]
    for call in calls:
        await call.read()
        call.cancel()
    async with asyncio.timeout(30):
        while sum([await count(each, grpc_method="WatchMatches", grpc_code="CANCELLED") for each in both]) < 2:
            await asyncio.sleep(0.1)


async def test_nobody_is_called_who_turned_away(replicas: tuple[list[Replica], Stubs, int]) -> None:
    """A replica that drains gets no calls, and when both do, callers are told instead of a replica being tried."""
    both, client, _ = replicas
    await spread(client, both)
    drained, left = both
    assert drained.served
    assert left.served
    drained.served.process.send_signal(signal.SIGTERM)
    await quiet(client, drained)
    await spread(client, [left])
    left.served.process.send_signal(signal.SIGTERM)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call_until_refused(client), 30)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "no healthy upstream" in (caught.value.details() or "")


async def call_until_refused(client: Stubs) -> None:
    """Call for as long as that works."""
    while True:
        request = matching_service_pb2.UpsertProfileRequest(profile=profile())
        await client.matching.UpsertProfile(request, timeout=TIMEOUT)


async def quiet(client: Stubs, replica: Replica) -> None:
    """Call until sixteen calls in a row have not reached the replica."""
    async with asyncio.timeout(30):
        while True:
            before = await count(replica)
            for _ in range(16):
                request = matching_service_pb2.UpsertProfileRequest(profile=profile())
                await client.matching.UpsertProfile(request, timeout=TIMEOUT)
            if await count(replica) == before:
                return
