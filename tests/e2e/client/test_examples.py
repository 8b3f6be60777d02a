"""The examples, run as programs against a server that a person started."""

import asyncio
import subprocess
import sys
from pathlib import Path

from support.protos import REPOSITORY
from support.requests import invite, join_pair
from support.served import Served
from support.stubs import open_stubs

EXAMPLES = REPOSITORY / "clients" / "python" / "examples"
ENDS_BY_ITSELF = {"find_a_match.py", "limit_requests.py", "user_sessions.py"}
OTHERS = {
    "coach.py",  # tests/rpc/coaching/test_example.py
    "watch_events.py",  # below
}


def run(name: str, target: str) -> list[str]:
    """Run an example to its end, and return the lines that it said."""
    command = [sys.executable, EXAMPLES / name]
    done = subprocess.run(command, env={"WINGMANMATCH_TARGET": target}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_each_example_is_run() -> None:
    """Nobody finds an example that was never tried."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == ENDS_BY_ITSELF | OTHERS


def test_find_a_match(server: Served) -> None:
    """Ada finds Ben, and Ben says yes."""
    could_invite, invited, state = run("find_a_match.py", server.grpc)
    assert (could_invite, state) == ("could invite Ben", "MATCH_STATE_ACCEPTED")
    # They live 0.7 miles apart, and each is measured by a point within a mile.
    assert invited in {f"invited Ben, {miles} mi away" for miles in (1, 2, 3)}


def test_limit_requests(server: Served) -> None:
    """Three mails are sent, the fourth must wait."""
    *sent, denied = run("limit_requests.py", server.grpc)
    assert sent == [f"mail {number}: sent" for number in (1, 2, 3)]
    assert denied.startswith("mail 4: not before ")


def test_user_sessions(server: Served) -> None:
    """The basket is in the session until it ends."""
    assert run("user_sessions.py", server.grpc) == [
        "dark, with umbrella in the basket",
        "1 session",
        "SESSION_NOT_FOUND",
    ]


async def watched(server: Served, user_id: str, file: Path, lines: int) -> list[str]:
    """Let the example follow a person until it has said so many lines, then kill it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / "watch_events.py",
        user_id,
        file,
        env={"WINGMANMATCH_TARGET": server.grpc},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(30):
            return [(await process.stdout.readline()).decode().strip() for _ in range(lines)]
    finally:
        process.kill()
        await process.wait()


async def test_watch_events(server: Served, tmp_path: Path) -> None:
    """What happens between two runs of the example is told by the second."""
    file = tmp_path / "token"
    async with open_stubs(server.grpc) as stubs:
        requester, invitee = await join_pair(stubs)
        assert await watched(server, invitee, file, 1) == ["watching"]
        match = await invite(stubs, requester, invitee)
    assert await watched(server, invitee, file, 1) == [f"MATCH_EVENT_KIND_REQUESTED {match.id}"]
