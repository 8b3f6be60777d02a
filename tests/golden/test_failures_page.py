"""docs/failures.md is what the code does."""

import re
from pathlib import Path

from wingmanmatch_server.bootstrap import breakers
from wingmanmatch_server.drivers.redis_errors import REPLIES, STALE, Meaning

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "failures.md").read_text("utf-8")
WORDS = {
    Meaning.UNAVAILABLE: "unavailable",
    Meaning.REFUSES_WRITES: "unavailable: refuses writes",
    Meaning.BUSY: "busy with itself",
}


def test_replies_of_redis() -> None:
    """Every code of the table stands on the page with its meaning, and no other."""
    rows = re.findall(r"^\| `([A-Z]+)` \| ([^|]+) \|([^|]*)\|$", PAGE, re.MULTILINE)
    assert {code: meaning for code, meaning, _ in rows} == {code: WORDS[each] for code, each in REPLIES.items()}
    assert {code for code, _, more in rows if "connections are made anew" in more} == STALE


def test_breakers() -> None:
    """Every breaker stands on the page with its threshold and its longest time."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (\d+|the first)[^|]* \| (\d+) s \| [^|]+ \|$", PAGE, re.MULTILINE)
    limits = {
        "database": breakers.DATABASE_LIMITS,
        "database_writes": breakers.DATABASE_WRITES_LIMITS,
        **dict.fromkeys(breakers.REDIS_BREAKERS, breakers.REDIS_LIMITS),
        "email": breakers.EMAIL_LIMITS,
        "external_api": breakers.EXTERNAL_API_LIMITS,
    }
    found = {name: (int(threshold.replace("the first", "1")), float(seconds)) for name, threshold, seconds in rows}
    assert found == {name: (each.failure_threshold, each.recovery) for name, each in limits.items()}
