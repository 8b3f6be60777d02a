"""What turns the structure that the migrations make into the one that supabase/schemas/ declares."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import annotations
from declared import Statement, by_key
from routines import dependents, replaceable, replacing
from structure import Structure, Thing

from wingmanmatch_server.drivers.migration_files import DECIDE

UNCALLED = "-- Servers call nothing that is internal.\n-- squawk-ignore ban-drop-function\n"
# Objects that are written out with the table that they belong to, if that is new.
PARTS_OF_TABLES = ("CONSTRAINT", "FK CONSTRAINT", "DEFAULT", "SEQUENCE", "SEQUENCE OWNED BY")


def differences(migrated: Structure, declared: Structure) -> list[str]:
    """Return a sentence for each object that the two structures do not share; empty if they are equal."""
    return [_sentence(thing, migrated, declared) for thing in _differing(migrated, declared)]


def write_delta(migrated: Structure, declared: Structure, statements: Sequence[Statement]) -> str:
    """Return the statements of a migration; what a person has to decide stands in lines that begin with `DECIDE`."""
    delta = _Delta(migrated, declared, by_key(statements))
    differing = delta.differing()
    parts = [*delta.created(differing), *delta.dropped(differing)]
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


@dataclass(frozen=True, slots=True)
class _Delta:
    migrated: Structure
    declared: Structure
    written: Mapping[tuple[str, str], Statement]

    def differing(self) -> set[Thing]:
        """Return what differs, and the comments and privileges that go with what is made anew or revoked as a whole."""
        found = set(_differing(self.migrated, self.declared))
        for thing in list(found):
            about = annotations.subject(thing, self.declared) if thing.kind == "ACL" else None
            if thing.kind == "FUNCTION" and self._is_made_anew(thing):
                found.update(annotations.annotations_of(thing, self.declared))
            # To revoke a privilege on a table revokes it on each column.
            elif about and about.kind in ("TABLE", "VIEW") and not annotations.is_about_column(thing):
                found.update(each for each in annotations.annotations_of(about, self.declared) if each.kind == "ACL")
        return found

    def created(self, differing: set[Thing]) -> Iterator[str]:
        """Yield what makes or changes the objects, in the order of the files."""
        order = {key: position for position, key in enumerate(self.written)}
        wanted = sorted((thing for thing in differing if thing in self.declared), key=lambda each: _place(each, order))
        for thing in wanted:
            if not self._comes_with_its_table(thing):
                yield self._change(thing)
            if thing not in self.migrated and not annotations.has_privileges(thing, self.declared):
                yield from filter(None, [annotations.revoke_defaults(thing)])

    def dropped(self, differing: set[Thing]) -> Iterator[str]:
        """Yield what drops the objects that are no longer declared."""
        gone = sorted((each for each in differing if each not in self.declared), key=lambda each: each.text)
        for thing in gone:
            if thing.kind in annotations.ABOUT_OTHERS:
                yield from self._removed(thing)
            elif thing.kind == "FUNCTION" and thing.schema == "internal":
                yield self._drop_internal(thing)
            else:
                yield (
                    f"{DECIDE}{thing.text} is no longer declared. Servers of the version before may use it: drop it in "
                    "the release after."
                )

    def _change(self, thing: Thing) -> str:
        before, after, statement = self.migrated.get(thing), self.declared[thing], self.written.get(_key(thing))
        if thing.kind == "ACL":
            return annotations.change_privileges(before or "", after)
        if thing.kind == "COMMENT":
            return after
        if thing.kind == "FUNCTION" and statement and before is not None:
            return self._change_function(thing, statement)
        if before is not None or self._is_new_on_a_table_with_rows(thing):
            return _decide(thing, before, after)
        return f"{statement.sql};" if statement else after

    def _change_function(self, thing: Thing, statement: Statement) -> str:
        if not self._is_made_anew(thing):
            return f"{replacing(statement.sql)};"
        if thing.schema == "internal" and not dependents(thing, self.migrated):
            return f"{UNCALLED}drop function {thing.qualified};\n\n{statement.sql};"
        return _decide(thing, self.migrated[thing], self.declared[thing], self._how_to_change(thing))

    def _how_to_change(self, thing: Thing) -> str:
        refused = "`create or replace` changes no parameter's name, no returned type, and removes no default."
        if thing.schema != "internal":
            return f"{refused} Servers of the version before call it: declare a function of another name beside it."
        used = ", ".join(each.text for each in dependents(thing, self.migrated))
        return f"{refused} Drop it and create it again, with what depends on it: {used}."

    def _drop_internal(self, thing: Thing) -> str:
        used = ", ".join(each.text for each in dependents(thing, self.migrated))
        if used:
            return f"{DECIDE}{thing.text} is no longer declared, and depended on by {used}. Drop it after them."
        if "RETURNS trigger" in self.migrated[thing]:
            return f"{DECIDE}{thing.text} is no longer declared, and a trigger's. Drop it after its triggers."
        return f"{UNCALLED}drop function {thing.qualified};"

    def _removed(self, thing: Thing) -> Iterator[str]:
        """Yield what removes a comment or privileges from an object that stays; those of others go with them."""
        about = annotations.subject(thing, self.declared)
        if about is None or annotations.annotations_of_kind(about, self.declared, thing.kind, like=thing):
            return
        before = self.migrated[thing]
        yield (
            annotations.remove_comment(before) if thing.kind == "COMMENT" else annotations.change_privileges(before, "")
        )

    def _is_made_anew(self, thing: Thing) -> bool:
        both = self.migrated.get(thing), self.declared.get(thing)
        return both[0] is not None and both[1] is not None and not replaceable(both[0], both[1])

    def _comes_with_its_table(self, thing: Thing) -> bool:
        """Whether the `create table` of a new table makes the object as well."""
        if thing.kind not in PARTS_OF_TABLES or _key(thing) in self.written:
            return False
        if thing.kind == "SEQUENCE OWNED BY" and ("SEQUENCE", thing.qualified) in self.written:
            return False
        table = self._table_of(thing)
        return table is not None and self._is_new_table(table)

    def _is_new_on_a_table_with_rows(self, thing: Thing) -> bool:
        if thing.kind not in (*PARTS_OF_TABLES, "INDEX") or (thing.kind == "SEQUENCE" and _key(thing) in self.written):
            return False
        table = self._table_of(thing)
        return table is not None and not self._is_new_table(table)

    def _is_new_table(self, qualified: str) -> bool:
        return any(
            (each.kind, each.qualified) == ("TABLE", qualified) and each not in self.migrated for each in self.declared
        )

    def _table_of(self, thing: Thing) -> str | None:
        """Return the table that an object is a part of; None for a sequence of its own."""
        text = self.declared[thing]
        if thing.kind == "INDEX":
            found = re.search(r" ON (?:ONLY )?(\S+) ", text)
            return found[1] if found else None
        if thing.kind not in ("SEQUENCE", "SEQUENCE OWNED BY"):
            return thing.qualified.split(" ")[0]
        owned = self.declared.get(Thing("SEQUENCE OWNED BY", thing.schema, thing.name), "")
        found = re.match(r"ALTER TABLE (?:ONLY )?(\S+) ", text) or re.search(r" OWNED BY (\S+)\.[^.]+;$", owned)
        return found[1] if found else None


def _decide(thing: Thing, before: str | None, after: str, hint: str = "") -> str:
    compared = difflib.unified_diff(
        (before or "").splitlines(), after.splitlines(), "migrations", "schemas", lineterm="", n=0
    )
    lines = [f"--   {line}" for line in compared]
    hint = hint or (
        "Build it in a file of its own with `-- transaction: none` and `create index concurrently if not exists`."
        if thing.kind == "INDEX"
        else "Write how, with the rows that are there in mind."
    )
    return "\n".join(
        [f"{DECIDE}{thing.text} {'is new on a table with rows' if before is None else 'changes'}. {hint}", *lines]
    )


def _key(thing: Thing) -> tuple[str, str]:
    return thing.kind, re.sub(r"\(.*", "", thing.qualified)


def _place(thing: Thing, order: dict[tuple[str, str], int]) -> tuple[int, bool, bool, str]:
    """Objects come in the order of the files, each with its comment and privileges behind it, the columns' last."""
    about = _subject(thing)
    return order.get(about, len(order)), about != _key(thing), annotations.is_about_column(thing), thing.text


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
