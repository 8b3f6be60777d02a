"""The maps of faults and of attacks: tests/faults/README.md and tests/attacks/README.md."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


def named(page: str) -> set[tuple[str, str]]:
    """Return the tests that a page names, by file and function."""
    return set(NAMED.findall((ROOT / page).read_text("utf-8")))


@pytest.mark.parametrize(("page", "at_least"), [("tests/faults/README.md", 60), ("tests/attacks/README.md", 3)])
def test_every_test_it_names_exists(page: str, at_least: int) -> None:
    """A test that is renamed or removed is missed here."""
    found = named(page)
    assert len(found) > at_least
    assert sorted((file, test) for file, test in found if test not in TEST.findall((ROOT / file).read_text())) == []


def test_every_attack_is_on_the_page() -> None:
    """A test below tests/attacks that the page does not name is missed here."""
    files = sorted((ROOT / "tests" / "attacks").rglob("test_*.py"))
    tests = {(str(file.relative_to(ROOT)), test) for file in files for test in TEST.findall(file.read_text("utf-8"))}
    assert tests - named("tests/attacks/README.md") == set()
