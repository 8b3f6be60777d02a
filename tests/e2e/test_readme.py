"""The README's commands, run as they stand."""

import os
import re
import subprocess
from pathlib import Path

from support.served import BIN, Served

README = Path(__file__).parents[2] / "README.md"
ADDRESS = "127.0.0.1:50051"


def commands() -> str:
    """Return the block that the README marks as executed."""
    found = re.search(r"<!-- executed by [^>]+ -->\n```sh\n(.+?)```", README.read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


def test_readmes_calls_work(server: Served) -> None:
    """Pasted into a shell, the calls succeed one after the other and end with an invitation."""
    assert commands().count(ADDRESS) == commands().count("grpcurl ")
    completed = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands().replace(ADDRESS, server.grpc)],
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stderr
    for expected in (
        "wingmanmatch.matching.v1.MatchingService",
        "SERVING",
        '"Ben"',
        "MATCH_STATE_PENDING",
    ):
        assert expected in completed.stdout
