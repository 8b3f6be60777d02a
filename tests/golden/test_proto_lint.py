"""The protos pass buf, and buf would notice if they did not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.protos import PROTOS


def lint(protos: Path) -> subprocess.CompletedProcess[str]:
    """Run the lint script that lies in `protos`."""
    command = (sys.executable, str(protos / "lint.py"))
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture
def copied_protos(tmp_path: Path) -> Path:
    """A copy of the protos that a test may spoil; no git revision is beside it."""
    return Path(shutil.copytree(PROTOS, tmp_path / "protos"))


def test_the_protos_are_linted_and_formatted() -> None:
    """The linter finds nothing to say about rules, comments, format or compatibility."""
    result = lint(PROTOS)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("  // The meet-up.\n", "", "should have a non-empty comment"),
        ("message GetMeetupResponse {\n", "message GetMeetupResponse  {\n", "diff"),
        ("string.uuid = true", "string.min_len = 9, (buf.validate.field).string.max_len = 8", "max_len"),
    ],
    ids=["comment", "format", "contradictory rule"],
)
def test_a_defect_is_found(copied_protos: Path, before: str, after: str, complaint: str) -> None:
    """A missing comment, a stray space and a rule that nothing satisfies are each refused, by name."""
    spoiled = copied_protos / "wingmanmatch" / "meetup" / "v1" / "meetup_service.proto"
    text = spoiled.read_text("utf-8")
    assert before in text
    spoiled.write_text(text.replace(before, after, 1), "utf-8")
    result = lint(copied_protos)
    assert result.returncode == 1
    assert complaint in result.stdout + result.stderr
