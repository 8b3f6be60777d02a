"""Redis behind Sentinel and behind TLS."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlencode, urlsplit

import pytest
import trustme

from support.redis_sentinel import Watched, watched_servers
from support.sessions import HOUR, create_store
from support.tls_front import tls_front, write_certificates
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import RedisServer, open_redis

USER = "6f1a5c1e-0000-4000-8000-000000000001"


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    """A primary, a replica and their sentinel, with passwords of their own."""
    async with watched_servers(tmp_path) as watched:
        yield watched


async def test_sentinels_lead_to_the_primary_and_to_the_next(watched: Watched) -> None:
    """Sessions outlive a primary: once the sentinel has named another, calls reach that one by themselves."""
    async with open_redis(watched.url, seconds=1) as redis:
        store = create_store(redis)
        session, token = await store.create(USER, b"1", ttl=HOUR)
        assert await redis.client.wait(1, 5000) == 1  # the replica has it
        await watched.fail_over()
        await answers_again(redis)
        assert await store.get(token) == session
        assert (await store.update(token, b"2")).version == 2


async def answers_again(redis: RedisServer) -> None:
    """Return once Redis answers."""
    async with asyncio.timeout(20):
        while True:
            try:
                await redis.ping()
            except errors.Unavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_wrong_sentinel_password(watched: Watched) -> None:
    """A sentinel that refuses is a Redis that does not answer."""
    url = watched.url.replace("sentinel_password=sentinel-password", "sentinel_password=wrong")
    async with open_redis(url, seconds=1) as redis:
        with pytest.raises(errors.Unavailable):
            await redis.ping()


async def test_tls(engines: EmbeddedEngines, tmp_path: Path) -> None:
    """rediss:// speaks TLS and shows a certificate; scripts and plain commands pass."""
    authority = trustme.CA()
    files = write_certificates(authority, tmp_path)
    async with tls_front(unquote(urlsplit(engines.redis_url).path), authority, authority) as port:
        async with open_redis(f"rediss://localhost:{port}/11?{urlencode(files)}") as redis:
            store = create_store(redis)
            session, token = await store.create(USER, b"1", ttl=HOUR)
            assert await store.get(token) == session
        without_certificate = urlencode({"ssl_ca_certs": files["ssl_ca_certs"]})
        async with open_redis(f"rediss://localhost:{port}/11?{without_certificate}") as redis:
            with pytest.raises(errors.Unavailable):
                await redis.ping()


async def test_tls_of_a_stranger(engines: EmbeddedEngines, tmp_path: Path) -> None:
    """A server whose certificate is another authority's, or another host's, is not spoken to."""
    files = write_certificates(trustme.CA(), tmp_path)
    async with tls_front(unquote(urlsplit(engines.redis_url).path), trustme.CA()) as port:
        for host, query in (("localhost", urlencode(files)), ("127.0.0.1", urlencode(files)), ("localhost", "")):
            async with open_redis(f"rediss://{host}:{port}/11?{query}") as redis:
                with pytest.raises(errors.Unavailable):
                    await redis.ping()
