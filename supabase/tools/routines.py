"""Which changes of a function `create or replace` cannot make, and what depends on a function."""

import re
from collections.abc import Iterator
from typing import Any

from annotations import ABOUT_OTHERS
from pglast import parse_sql
from pglast.stream import RawStream
from structure import Structure, Thing


def replaceable(before: str, after: str) -> bool:
    """Whether `create or replace` turns the function `before` into `after`, both as pg_dump writes them.

    PostgreSQL changes neither the type that is returned nor the name of a parameter, and removes no default.
    """
    old, new = parse_sql(before)[0].stmt, parse_sql(after)[0].stmt
    return _interface(old) == _interface(new) and _defaults(old) <= _defaults(new)


def replacing(sql: str) -> str:
    """Return a `create function` statement as `create or replace function`."""
    return re.sub(
        r"^([ \t]*)create\s+(?:or\s+replace\s+)?function\b",
        r"\1create or replace function",
        sql,
        count=1,
        flags=re.MULTILINE | re.IGNORECASE,
    )


def dependents(function: Thing, structure: Structure) -> list[Thing]:
    """Return what PostgreSQL does not let stand without the function, such as triggers, defaults and policies.

    Bodies in quotes are not among them: their names are looked up when they run.
    """
    name = re.compile(rf"\b{re.escape(function.qualified.partition('(')[0])}\(")
    return [
        each for each in structure if each != function and any(name.search(text) for text in _bound(each, structure))
    ]


def _bound(thing: Thing, structure: Structure) -> Iterator[str]:
    """Yield the parts of a definition whose names PostgreSQL resolves at once."""
    if thing.kind in ABOUT_OTHERS:
        return
    text = structure[thing]
    yield text if thing.kind != "FUNCTION" or "BEGIN ATOMIC" in text else text.partition("\n    AS ")[0]


def _interface(statement: Any) -> tuple[object, ...]:
    parameters = [(each.name, each.mode, RawStream()(each.argType)) for each in statement.parameters or ()]
    returned = statement.returnType
    return parameters, RawStream()(returned) if returned else None


def _defaults(statement: Any) -> int:
    return sum(each.defexpr is not None for each in statement.parameters or ())
