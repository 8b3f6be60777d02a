"""Calls go to all servers in turn that say they serve."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import repeat

import pytest

from support.faces import FACES, Face, open_face
from support.scripted_server import Script, ScriptedServer, scripted_server
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_client import Unavailable, rpcs

ADA = str(uuid.uuid4())
MANY = 2000


class Servers:
    """Two servers that answer whatever they are asked, and who answered."""

    def __init__(self, servers: list[ScriptedServer], face: Face) -> None:
        answers = list(repeat(matching_service_pb2.GetProfileResponse(), MANY))
        self.servers = servers
        self.scripts: list[Script] = [server.script(rpcs.MATCHING_GET_PROFILE, *answers) for server in servers]
        self._face = face

    async def answer(self, *expected: int) -> None:
        """Call until the last calls were answered by the expected servers alone; fail if that never happens."""
        async with asyncio.timeout(30):
            while await self._who_answers() != set(expected):
                pass

    async def _who_answers(self) -> set[int]:
        before = [len(script.asked) for script in self.scripts]
        for _ in range(8):
            await self._face.call("matching", "get_profile", user_id=ADA)
        return {number for number, script in enumerate(self.scripts) if len(script.asked) > before[number]}


@pytest.fixture(params=FACES)
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[Servers]:
    """Both, under one client."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(scripted_server()) for _ in range(2)]
        target = f"ipv4:{','.join(server.target for server in made)}"
        yield Servers(made, await stack.enter_async_context(open_face(request.param, target)))


async def test_calls_follow_health(servers: Servers) -> None:
    """A server that says it is going gets no calls any more, long before it closes a connection."""
    await servers.answer(0, 1)
    servers.servers[0].health.set("readiness", serving=False)
    await servers.answer(1)
    servers.servers[0].health.set("readiness", serving=True)
    await servers.answer(0, 1)


@pytest.mark.parametrize("servers", ["async"], indirect=True)
async def test_nobody_serves(servers: Servers) -> None:
    """Where no server serves a call fails, though all of them are there."""
    await servers.answer(0, 1)
    for server in servers.servers:
        server.health.set("readiness", serving=False)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(30):
            await servers.answer()
