"""The README's commands, run as they stand."""

from pathlib import Path

from support.pages import ADDRESS, blocks, run
from support.served import Served

README = Path(__file__).parents[2] / "README.md"
MARK = "<!-- executed by tests/e2e/test_readme.py -->"


def test_readmes_calls_work(server: Served, tmp_path: Path) -> None:
    """Pasted into a shell, the calls succeed one after the other and end with an invitation."""
    [block] = blocks(README.read_text("utf-8"), mark=MARK)
    assert block.commands.count(ADDRESS) == block.commands.count("grpcurl ")
    [outcome] = run([block], tmp_path, {ADDRESS: server.grpc})
    assert outcome.status == 0, outcome.output
    for expected in (
        "wingmanmatch.matching.v1.MatchingService",
        "SERVING",
        '"Ben"',
        "MATCH_STATE_PENDING",
    ):
        assert expected in outcome.output
