"""What the doctor says of a Redis with replicas, and of one whose password is in a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio as redis

from support.redis_sentinel import PASSWORD, Watched, watched_servers
from support.valkey import OwnValkey, own_valkey
from wingmanmatch_server.doctor import valkey
from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.doctor.report import Finding, Verdict


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnValkey]:
    """A server of the test's own."""
    with own_valkey(tmp_path) as server:
        yield server


async def findings(url: str, password_file: Path | None = None) -> dict[str, Finding]:
    """Return what the doctor finds, by subject."""
    given = Given(_env_file=None, redis_url=url, redis_password_file=password_file)
    return {finding.subject.strip(): finding for finding in await valkey.check(given)}


async def needs(watched: Watched, replicas: int) -> None:
    """Set how many replicas must have what the primary acknowledges."""
    async with redis.Redis(port=watched.ports[0], password=PASSWORD) as primary:
        await primary.config_set("min-replicas-to-write", replicas)


async def test_writes_that_no_replica_needs_to_have(tmp_path: Path) -> None:
    """A primary with a replica that may acknowledge what a failover loses is a note, until it may not."""
    async with watched_servers(tmp_path) as watched:
        found = (await findings(watched.url))["replicas"]
        assert (found.verdict, found.said) == (Verdict.NOTE, "1 connected, min-replicas-to-write 0")
        await needs(watched, 1)
        found = (await findings(watched.url))["replicas"]
        assert (found.verdict, found.said) == (Verdict.GOOD, "1 connected, min-replicas-to-write 1")


async def test_server_without_replicas(server: OwnValkey) -> None:
    """Where there is no replica there is nothing to say of them."""
    assert "replicas" not in await findings(server.url)


async def test_snapshots_are_told_from_nothing(server: OwnValkey) -> None:
    """Without an append-only file, snapshots are named where there are some."""
    async with redis.from_url(server.url) as operator:
        await operator.config_set("appendonly", "no")
        assert (await findings(server.url))["persistence"].said == "no append-only file"
        await operator.config_set("save", "3600 1")
        assert (await findings(server.url))["persistence"].said == "snapshots only"


async def test_replica_in_place_of_the_primary(server: OwnValkey) -> None:
    """An address that leads to a replica fails by that name."""
    async with redis.from_url(server.url) as operator:
        await operator.execute_command("REPLICAOF", "127.0.0.1", "1")
    found = (await findings(server.url))["Redis"]
    assert (found.verdict, found.said) == (Verdict.FAILED, "is a replica")


async def test_password_in_a_file(server: OwnValkey, tmp_path: Path) -> None:
    """The doctor authenticates by the file as the server does."""
    file = tmp_path / "password"
    file.write_text("secret\n")
    async with redis.from_url(server.url) as operator:
        await operator.config_set("requirepass", "secret")
    assert (await findings(server.url, file))["Redis"].verdict is Verdict.GOOD
    file.write_text("wrong")
    assert (await findings(server.url, file))["Redis"].said == "refuses the password"
