"""Servers are killed, drained and started again under a client that knows two of them: it does not notice."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.databases import execute, fresh_database
from support.faces import Face, open_face
from support.requests import invite, join_pair
from support.served import Served, start
from support.stubs import open_stubs
from wingmanmatch_client import Client, connect
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

PATIENCE = 60.0  # seconds in which anything must have happened
EVENTS_A_STEP = 4


@pytest.fixture
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """A database that the servers share."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


class Pair:
    """Two servers on one database, and their addresses for ever."""

    def __init__(self, stack: ExitStack, folder: Path, settings: dict[str, str]) -> None:
        self._stack, self._folder, self._settings = stack, folder, settings
        self.one, self.other = self.start(), self.start()
        self.target = f"ipv4:{self.one.grpc},{self.other.grpc}"

    def start(self, address: str = "127.0.0.1:0") -> Served:
        """Start a server."""
        name = str(uuid.uuid4())
        # It logs each of many calls, and nobody would read a pipe.
        log = self._stack.enter_context((self._folder / f"{name}.log").open("w"))
        server = start(self._folder / name, log=log, GRPC_LISTEN=address, **self._settings)
        self._stack.callback(self._end, server)
        return server

    def _end(self, server: Served) -> None:
        if server.process.poll() is None:
            server.interrupt()
        if server.process.stdout:
            server.process.stdout.close()

    async def kill(self, server: Served) -> None:
        """End a server as a power cut does."""
        os.kill(server.process.pid, signal.SIGKILL)
        await asyncio.to_thread(server.process.wait, PATIENCE)

    async def drain(self, server: Served) -> None:
        """End a server in good order."""
        server.process.terminate()
        assert await asyncio.to_thread(server.process.wait, PATIENCE) == 0

    async def restart(self, server: Served) -> Served:
        """Start one again where it was."""
        return await asyncio.to_thread(self.start, server.grpc)


@pytest.fixture
def pair(dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> Iterator[Pair]:
    """Servers that drain for a second."""
    settings = {
        "DATABASE_URL": dsn,
        "REDIS_URL": engines.redis_url,
        "ENABLE_RATE_LIMITING": "false",
        "DRAIN_DELAY": "1",
    }
    with ExitStack() as stack:
        yield Pair(stack, tmp_path, settings)


class Watcher:
    """Reads a person's events by one face, and keeps where each left off."""

    def __init__(self, face: Face, user_id: str) -> None:
        self.tokens: list[str] = []
        self.changed = asyncio.Event()
        self.is_open = asyncio.Event()
        self.first = ""
        self._messages = face.open("matching", "watch_matches", user_id=user_id, heartbeats=True)

    async def read(self) -> None:
        """Read for ever."""
        async for message in self._messages:
            self.first = self.first or message.resume_token
            self.is_open.set()
            if message.HasField("event"):
                self.tokens.append(message.resume_token)
                self.changed.set()

    async def has(self, count: int) -> None:
        """Wait until so many events have come."""
        while len(self.tokens) < count:
            self.changed.clear()
            await self.changed.wait()


async def call_on(client: Client, user_id: str, done: asyncio.Event) -> int:
    """Call without a pause until it is done, and return how often; nothing may fail."""
    count = 0
    while not done.is_set():
        await client.matching.get_profile(user_id=user_id)
        count += 1
    return count


async def happen(dsn: str, match_id: str) -> None:
    """Let a few things happen to a match."""
    for number in range(EVENTS_A_STEP):
        state = ("CANCELLED", "EXPIRED")[number % 2]
        await execute(dsn, f"update matches set state = '{state}' where id = '{match_id}'")


async def test_no_event_is_lost_none_comes_twice_and_no_call_fails(pair: Pair, dsn: str) -> None:
    """Through two kills, a restart and a drain, both faces see each event once, and calls get their answers."""
    async with open_stubs(pair.one.grpc) as stubs:
        requester, invitee = await join_pair(stubs)
        match = await invite(stubs, requester, invitee)
    async with asyncio.timeout(100), connect(pair.target) as client:
        done = asyncio.Event()
        async with open_face("async", pair.target) as left, open_face("sync", pair.target) as right:
            watchers = [Watcher(face, invitee) for face in (left, right)]
            reading = [asyncio.create_task(watcher.read()) for watcher in watchers]
            calling = asyncio.create_task(call_on(client, requester, done))
            for watcher in watchers:
                await watcher.is_open.wait()

            await happen(dsn, match.id)
            await pair.kill(pair.one)
            await happen(dsn, match.id)
            pair.one = await pair.restart(pair.one)
            await happen(dsn, match.id)
            draining = asyncio.create_task(pair.drain(pair.other))
            await happen(dsn, match.id)
            await draining
            await happen(dsn, match.id)

            for watcher in watchers:
                await watcher.has(5 * EVENTS_A_STEP)
            done.set()
            assert await calling > 0
        await asyncio.gather(*reading)
        truth = await everything_since(client, invitee, watchers[0].first)
    assert len(truth) == 5 * EVENTS_A_STEP == len(set(truth))
    assert [watcher.tokens for watcher in watchers] == [truth, truth]


async def everything_since(client: Client, user_id: str, token: str) -> list[str]:
    """Return the positions of all events since one, as a stream that was never disturbed tells them."""
    tokens: list[str] = []
    async for message in client.matching.watch_matches(user_id=user_id, resume_token=token, heartbeats=True):
        if message.HasField("event"):
            tokens.append(message.resume_token)
        if len(tokens) == 5 * EVENTS_A_STEP:
            return tokens
    return tokens
