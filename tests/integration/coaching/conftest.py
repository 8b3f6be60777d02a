"""A Claude that follows the documented format, and the real SDK to ask it."""

import importlib
from collections.abc import AsyncIterator

import pytest

from support.claude import Asking, asking
from support.claude_server import ClaudeServer, serving_claude


@pytest.fixture(scope="module")
async def claude() -> AsyncIterator[ClaudeServer]:
    """The API."""
    async with serving_claude() as claude:
        yield claude


@pytest.fixture
async def asked(claude: ClaudeServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asking]:
    """What asks it, with a clock of the test's own."""
    importlib.import_module("anthropic")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
    claude.script()
    async with asking() as asked:
        yield asked
