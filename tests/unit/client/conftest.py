"""Each of the client's faces, and a server that does as it is told."""

from collections.abc import AsyncIterator

import pytest

from support.faces import FACES, Face, open_face
from support.scripted_server import ScriptedServer, scripted_server


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    """A server without scripts yet."""
    async with scripted_server() as server:
        yield server


@pytest.fixture(params=FACES)
async def client(server: ScriptedServer, request: pytest.FixtureRequest) -> AsyncIterator[Face]:
    """A client of it."""
    async with open_face(request.param, server.target, api_key="wmk_key") as client:
        yield client
