"""What turns the structure that the migrations make into the one that supabase/schemas/ declares."""

import difflib
import re
from collections.abc import Iterator, Sequence

from declared import Statement, by_key
from structure import Structure, Thing

DECIDE = "-- DECIDE: "
UNCALLED = "-- Servers call nothing that is internal.\n-- squawk-ignore ban-drop-function\n"
# What PostgreSQL and Supabase grant by default on new objects.
BY_DEFAULT = "public, anon, authenticated"
# Objects that are written out with the table that they belong to, if that is new.
PARTS_OF_TABLES = ("CONSTRAINT", "FK CONSTRAINT", "DEFAULT", "SEQUENCE", "SEQUENCE OWNED BY")


def differences(migrated: Structure, declared: Structure) -> list[str]:
    """Return a sentence for each object that the two structures do not share; empty if they are equal."""
    return [_sentence(thing, migrated, declared) for thing in _differing(migrated, declared)]


def write_delta(migrated: Structure, declared: Structure, statements: Sequence[Statement]) -> str:
    """Return the statements of a migration; what a person has to decide stands in lines that begin with `DECIDE`."""
    differing = set(_differing(migrated, declared))
    parts = [*_created(differing, migrated, declared, statements), *_dropped(differing, declared)]
    return "\n\n".join(parts) + "\n" if parts else ""


def _sentence(thing: Thing, migrated: Structure, declared: Structure) -> str:
    if thing not in declared:
        return (
            f"{thing.text} is made by supabase/migrations/ and not declared: add it to its file of supabase/schemas/, "
            "or drop it in a new migration."
        )
    what = "differs between" if thing in migrated else "is declared in supabase/schemas/ and missing from"
    both = "supabase/schemas/ and supabase/migrations/" if thing in migrated else "supabase/migrations/"
    return f"{thing.text} {what} {both}: run `make migration NAME=…`."


def _differing(migrated: Structure, declared: Structure) -> list[Thing]:
    everything = dict.fromkeys([*declared, *migrated])
    return [thing for thing in everything if migrated.get(thing) != declared.get(thing)]


def _created(
    differing: set[Thing], migrated: Structure, declared: Structure, statements: Sequence[Statement]
) -> Iterator[str]:
    order = {key: position for position, key in enumerate(by_key(statements))}
    wanted = sorted((thing for thing in differing if thing in declared), key=lambda each: _place(each, order))
    written = by_key(statements)
    new_tables = {thing.qualified for thing in wanted if thing.kind == "TABLE" and thing not in migrated}
    for thing in wanted:
        if thing.kind in PARTS_OF_TABLES and thing.qualified.split(" ")[0] in new_tables:
            continue
        statement = written.get(_key(thing))
        yield _change(thing, migrated.get(thing), declared[thing], statement, new_tables)


def _change(thing: Thing, before: str | None, after: str, statement: Statement | None, new_tables: set[str]) -> str:
    if thing.kind == "FUNCTION" and statement:
        text = (
            statement.sql
            if before is None
            else re.sub(r"^create function", "create or replace function", statement.sql, flags=re.MULTILINE)
        )
        return f"{text};"
    if thing.kind == "ACL":
        return _grants(thing, after)
    if thing.kind == "COMMENT":
        return after
    if before is not None or (thing.kind in (*PARTS_OF_TABLES, "INDEX") and not _belongs_to(after, new_tables)):
        return _decide(thing, before, after)
    return f"{statement.sql};" if statement else after


def _dropped(differing: set[Thing], declared: Structure) -> Iterator[str]:
    for thing in sorted((each for each in differing if each not in declared), key=lambda each: each.text):
        if thing.kind in ("COMMENT", "ACL"):
            continue
        if thing.kind == "FUNCTION" and thing.schema == "internal":
            yield f"{UNCALLED}drop function {thing.qualified};"
        else:
            yield (
                f"{DECIDE}{thing.text} is no longer declared. Servers of the version before may use it: drop it in the "
                "release after."
            )


def _decide(thing: Thing, before: str | None, after: str) -> str:
    compared = difflib.unified_diff(
        (before or "").splitlines(), after.splitlines(), "migrations", "schemas", lineterm="", n=0
    )
    lines = [f"--   {line}" for line in compared]
    hint = (
        "Build it in a file of its own with `-- transaction: none` and `create index concurrently if not exists`."
        if thing.kind == "INDEX"
        else "Write how, with the rows that are there in mind."
    )
    return "\n".join(
        [f"{DECIDE}{thing.text} {'is new on a table with rows' if before is None else 'changes'}. {hint}", *lines]
    )


def _grants(thing: Thing, after: str) -> str:
    """Return the privileges in full: an object that is new has those that are granted by default."""
    target = re.sub(r"^(\w+) ", lambda kind: f"{kind[1].lower()} {thing.schema}.", thing.name)
    if thing.name.startswith("SCHEMA"):
        target = thing.name.lower()
    granted = [line for line in after.splitlines() if line.startswith("GRANT")]
    return "\n".join([f"revoke all on {target} from {BY_DEFAULT};", *granted])


def _belongs_to(definition: str, tables: set[str]) -> bool:
    return any(re.search(rf"\b{re.escape(table)}\b", definition) for table in tables)


def _key(thing: Thing) -> tuple[str, str]:
    return thing.kind, re.sub(r"\(.*", "", thing.qualified)


def _place(thing: Thing, order: dict[tuple[str, str], int]) -> tuple[int, bool, str]:
    """Objects come in the order of the files, each with its comment and privileges behind it."""
    about = _subject(thing)
    return order.get(about, len(order)), about != _key(thing), thing.text


def _subject(thing: Thing) -> tuple[str, str]:
    """Return the key of the object that a comment, a privilege or row level security is about, or else its own."""
    if thing.kind == "ROW SECURITY":
        return "TABLE", thing.qualified
    if thing.kind not in ("COMMENT", "ACL"):
        return _key(thing)
    kind, _, name = thing.name.partition(" ")
    if kind == "COLUMN":
        return "TABLE", f"{thing.schema}.{name.partition('.')[0]}"
    return kind, f"{thing.schema}.{name.partition('(')[0]}"
