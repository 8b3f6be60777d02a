"""Whatever is written about a person while the person is being erased: nothing of it may stay."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from support.claude_server import serving_claude
from support.credentials import bearer, user_token
from support.edge import failure_of
from support.requests import TIMEOUT, profile
from support.site import Site, serving_site
from support.stubs import Stubs
from support.traces import emails_since, keys_with, tables_with
from support.writers import REQUESTS, Victim, call, named, settled, writing_methods
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

ROUNDS = 2  # of every writing RPC for each erasure
FEW, MANY = 8, 100
REFUSALS = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.ABORTED,
}
BUCKET_LIVES = 310.0  # seconds that the slowest of the shipped limits, email_send, takes to fill


@pytest.fixture
async def site(
    admin_dsn: str, engines: EmbeddedEngines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    """A server that coaches, files its emails, and asks for credentials."""
    async with serving_claude() as claude:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
        async with serving_site(admin_dsn, f"{engines.redis_url}?db=6", tmp_path) as site:
            yield site


def test_writers_are_all_of_them() -> None:
    """Each RPC that may change something is tried, or named as one that writes about nobody."""
    assert {method.name for method in writing_methods()} == REQUESTS.keys()


async def erase(client: Stubs, victim: Victim) -> None:
    """Erase somebody by their own token."""
    request = matching_service_pb2.DeleteProfileRequest(user_id=victim.user_id, request_id=str(uuid.uuid4()))
    await client.matching.DeleteProfile(request, metadata=bearer(user_token(victim.user_id)), timeout=TIMEOUT)


async def write_while_erased(client: Stubs, victim: Victim, source: random.Random) -> float:
    """Let every writer loose about somebody, erase in the middle of it; return when the erasure had succeeded."""
    calls = [call(client, method, victim) for method in writing_methods() for _ in range(ROUNDS)]
    source.shuffle(calls)
    before = source.randrange(len(calls))
    early = [asyncio.create_task(each) for each in calls[:before]]
    erasing = asyncio.create_task(erase(client, victim))
    late = [asyncio.create_task(each) for each in calls[before:]]
    await erasing
    erased = time.time()
    for outcome in await asyncio.gather(*early, *late, return_exceptions=True):
        if isinstance(outcome, grpc.aio.AioRpcError):
            assert outcome.code() in REFUSALS, outcome
        else:
            assert not isinstance(outcome, BaseException), outcome
    return erased


async def left_behind(site: Site, victim: Victim, erased: float) -> dict[str, Any]:
    """Return where something of somebody is left; buckets of limits, which are numbers, may live out their minutes."""
    keys = set()
    for needle in (victim.user_id, victim.mark):
        for key in await keys_with(site.redis, needle):
            short = key.startswith("rl:") and await site.redis.client.pttl(key) < BUCKET_LIVES * 1000
            if not short:
                keys.add(key)
    found = {
        "tables": await tables_with(site.sql, victim.user_id) | await tables_with(site.sql, victim.mark),
        "keys": keys,
        "emails": emails_since(site.folder / "outbox", victim.mark, erased),
    }
    return {name: what for name, what in found.items() if what}


async def attack(site: Site, erasures: int) -> None:
    """Erase so many people while everything is written about them, and find nothing of them."""
    source, erased = random.Random(5), []
    for number in range(erasures):
        victim = await settled(site.client, str(number))
        assert await tables_with(site.sql, victim.user_id), "there must be something to erase"
        assert await keys_with(site.redis, victim.user_id)
        erased.append((victim, await write_while_erased(site.client, victim, source)))
    left = {victim.mark: found for victim, at in erased if (found := await left_behind(site, victim, at))}
    assert left == {}


async def test_nothing_stays_of_what_is_written_during_an_erasure(site: Site) -> None:
    """Every RPC that writes runs beside a few erasures: no row, no key and no later email is left of anybody."""
    await attack(site, FEW)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_stays_of_what_is_written_during_a_hundred_erasures(site: Site) -> None:
    """The same a hundred times."""
    await attack(site, MANY)


async def test_nothing_is_written_about_somebody_erased(site: Site) -> None:
    """For a day an erased id gets no email, no session and no conversation; its address by itself may be written to."""
    victim = await settled(site.client, "late")
    await erase(site.client, victim)
    reasons = {
        name: (await failure_of(call(site.client, named(name), victim))).reason
        for name in ("SendNotification", "CreateSession", "Chat", "UpsertProfile", "UnblockUser")
    }
    assert reasons == {
        "SendNotification": "PROFILE_NOT_FOUND",
        "CreateSession": "ERASED_RECENTLY",
        "Chat": "ERASED_RECENTLY",
        "UpsertProfile": "ERASED_RECENTLY",
        "UnblockUser": "PROFILE_NOT_FOUND",
    }
    assert await left_behind(site, victim, time.time()) == {}
    sent = await call(site.client, named("SendNotification"), victim, user_id="")
    assert sent.notification.id
    stranger = Victim(str(uuid.uuid4()), "", "stranger", profile())
    assert (await call(site.client, named("SendNotification"), stranger)).notification.user_id == stranger.user_id
