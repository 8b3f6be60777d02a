"""The client's example of a conversation, run as a program."""

import asyncio
import sys

from support.claude_server import ClaudeServer, Says
from support.protos import REPOSITORY
from support.stubs import Stubs

EXAMPLE = REPOSITORY / "clients" / "python" / "examples" / "coach.py"


async def test_conversation_is_printed_as_it_comes(client: Stubs, claude: ClaudeServer) -> None:
    """Two messages of one conversation get their answers, the second in the light of the first."""
    claude.script(Says(["Say ", "hello. ", "Loudly."]), Says(["Then smile."]))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLE,
        "How do I begin?",
        "And then?",
        env={"WINGMANMATCH_TARGET": client.target},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, complained = await process.communicate()
    assert (process.returncode, said.decode().splitlines()) == (0, ["Say hello. Loudly.", "Then smile."]), complained
    assert claude.requests[-1]["messages"][0]["content"] == "How do I begin?"
