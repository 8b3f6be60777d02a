"""Results of the database as typed rows."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from wingmanmatch_server.drivers.results import Moment, ResultInvalid, ResultType

SECRET = "ann@example.org"
WHOLE: dict[str, Any] = {
    "id": "a",
    "count": 2,
    "time": "2026-11-28T13:30:00.25+01:00",
    "end": None,
    "parts": [{"name": "x"}],
}


@dataclass(frozen=True, slots=True)
class Part:
    """A row in a row."""

    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """One of each kind of field."""

    id: str
    count: int
    time: Moment
    end: Moment | None
    parts: tuple[Part, ...]
    note: str = "none"


ROW = ResultType(Row)


def test_result_becomes_a_row() -> None:
    """Times know their offset, lists become tuples, and a field with a default may be missing."""
    row = ROW.read("f", WHOLE)
    assert row == Row("a", 2, datetime(2026, 11, 28, 12, 30, 0, 250_000, tzinfo=UTC), None, (Part("x"),))
    assert row.time.utcoffset() is not None


def test_unknown_keys_are_ignored() -> None:
    """A newer schema may return more than this server knows."""
    assert ROW.read("f", WHOLE | {"new": 1, "parts": [{"name": "x", "new": 2}]}) == ROW.read("f", WHOLE)


def test_value_of_a_key_can_be_the_row() -> None:
    """What stands beside it is not looked at."""
    assert ResultType(Row, "row").read("f", {"row": WHOLE, "other": 1}) == ROW.read("f", WHOLE)
    assert ResultType(int, "purged").read("f", {"purged": 3}) == 3


@pytest.mark.parametrize("key", WHOLE)
def test_missing_key_is_an_error(key: str) -> None:
    """It is named, also where None is allowed as a value."""
    with pytest.raises(ResultInvalid, match=f"^f returned an invalid result: {key}: missing$"):
        ROW.read("f", {name: value for name, value in WHOLE.items() if name != key})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": None}, "id: string_type"),
        ({"id": 1}, "id: string_type"),
        ({"count": SECRET}, "count: int_parsing"),
        ({"time": SECRET}, "time: value_error"),
        ({"time": None}, "a value has another type"),
        ({"end": SECRET}, "end: value_error"),
        ({"parts": [{"name": "x"}, {"name": {SECRET: SECRET}}]}, "parts.1.name: string_type"),
        ({"id": None, "count": None}, "id: string_type; count: int_type"),
    ],
)
def test_value_of_another_type_is_an_error_that_quotes_nothing(change: dict[str, Any], problem: str) -> None:
    """The text has the place and the kind of problem, and the exception brings no other with it to a log."""
    with pytest.raises(ResultInvalid) as caught:
        ROW.read("f", WHOLE | change)
    assert str(caught.value) == f"f returned an invalid result: {problem}"
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("result", [None, "text", [], 3])
@pytest.mark.parametrize("key", [None, "row"])
def test_result_of_another_shape_is_an_error(result: Any, key: str | None) -> None:
    """Whether the row is the result or in it."""
    with pytest.raises(ResultInvalid):
        ResultType(Row, key).read("f", result)
