"""The client on a whole server."""

from collections.abc import AsyncIterator

import pytest

from support.faces import FACES, Face, open_face
from support.stubs import Stubs


@pytest.fixture(scope="module")
def transport() -> str:
    """How the server reaches its database is nothing to a client."""
    return "postgres"


@pytest.fixture(params=FACES)
async def face(client: Stubs, request: pytest.FixtureRequest) -> AsyncIterator[Face]:
    """Each of the client's faces."""
    async with open_face(request.param, client.target) as face:
        yield face
