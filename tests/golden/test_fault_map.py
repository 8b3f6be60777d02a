"""The map of faults in tests/faults/README.md."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_it_names_exists() -> None:
    """A test that is renamed or removed is missed here."""
    named = NAMED.findall((ROOT / "tests" / "faults" / "README.md").read_text("utf-8"))
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)
    ]
    assert len(named) > 60
    assert missing == []
