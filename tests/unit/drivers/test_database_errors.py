"""The table of what the database's errors mean, and the page that tells it."""

from pathlib import Path

import pytest

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database_errors import (
    MEANINGS,
    Meaning,
    call_error,
    costs_the_connection,
    domain_error,
    meaning_of,
)

PAGE = Path(__file__).parents[3] / "docs" / "failures.md"
# PostgreSQL manual, appendix A: of each class of the table codes that fit, and the nearest that do not.
CODES = {
    Meaning.UNAVAILABLE: "08000 08003 08006 08001 08004 08P01 25P03 28000 28P01 3D000 53000 53100 53200 53300 53400"
    " 57P01 57P02 57P03 57P04 57P05 PGRST000 PGRST001 PGRST002",
    Meaning.READ_ONLY: "25006",
    Meaning.BUSY: "40001 40P01 55P03",
    Meaning.TOO_SLOW: "57014 25P04",
    Meaning.OVERLOADED: "PGRST003",
    None: "22P02 23505 25001 25P02 40002 42501 42883 55000 55006 57000 58030 P0001 WM404 XX000 PGRST202 0A000",
}


@pytest.mark.parametrize(("code", "meaning"), [(code, kind) for kind, codes in CODES.items() for code in codes.split()])
def test_meanings(code: str, meaning: Meaning | None) -> None:
    """Each code means what the page says, and costs its connection only where the server cannot serve."""
    assert meaning_of(code) is meaning
    assert costs_the_connection(code) == (meaning in (Meaning.UNAVAILABLE, Meaning.READ_ONLY))


def test_standby_behind_postgrest() -> None:
    """A code that means many things says by its text that a standby refuses transactions that write."""
    refusal = domain_error("0A000", "cannot set transaction read-write mode during recovery")
    assert isinstance(refusal, errors.Unavailable)
    assert refusal.evidence is errors.Evidence.REFUSES_WRITES
    assert str(call_error("f", "0A000", "cannot do what a row says")) == "f failed with 0A000"


def test_page_has_every_entry() -> None:
    """No code or class of the table is missing in the documentation."""
    page = PAGE.read_text()
    spelled = {"57P": "57P01", "PGRST001": "PGRST002"} | {name: f"{name}xxx" for name in ("08", "28", "53")}
    assert not [code for code in MEANINGS if f"`{spelled.get(code, code)}" not in page]
