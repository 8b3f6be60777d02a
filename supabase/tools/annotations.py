"""Privileges and comments: which object each is about, and the statements that change them."""

import re

from structure import Structure, Thing

ABOUT_OTHERS = ("ACL", "COMMENT")
ROUTINES = ("FUNCTION", "PROCEDURE", "AGGREGATE")
# What PostgreSQL and Supabase grant by default on new objects.
BY_DEFAULT = ("public", "anon", "authenticated", "service_role")
# What PostgreSQL grants to PUBLIC on an object whose privileges nobody changed.
_BUILT_IN = {"FUNCTION": "execute", "PROCEDURE": "execute", "TYPE": "usage"}
_PRIVILEGE = re.compile(
    r"^(?:GRANT|REVOKE) (?P<what>.+?) ON (?P<target>.+) (?:TO|FROM) (?P<role>\S+?)(?: WITH GRANT OPTION)?;$",
    re.MULTILINE,
)
# pg_dump's words for the privileges of what is a kind of table or of type to GRANT.
_KINDS = {"TABLE": ("TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE"), "TYPE": ("TYPE", "DOMAIN")}
_TWO_WORDS = ("MATERIALIZED VIEW", "FOREIGN TABLE")


def subject(thing: Thing, structure: Structure) -> Thing | None:
    """Return the object of `structure` that a comment or privileges are about; None if it is not there."""
    kind, name = _kind_and_name(thing)
    if kind == "COLUMN":
        return _table_of_column(thing.schema, name, structure)
    if kind in ROUTINES:
        return _routine(kind, thing.schema, name, structure)
    if " ON " in name:
        part, _, table = name.rpartition(" ON ")
        return _present(structure, (kind,), thing.schema, f"{table} {part}") or _holding(structure, thing, table, part)
    return _present(structure, _KINDS.get(kind, (kind,)), thing.schema, name)


def is_about_column(thing: Thing) -> bool:
    """Whether a comment or privileges are about a single column."""
    return thing.name.startswith("COLUMN ")


def annotations_of(about: Thing, structure: Structure) -> list[Thing]:
    """Return the comments and privileges of an object and of its columns."""
    return [each for each in structure if each.kind in ABOUT_OTHERS and subject(each, structure) == about]


def annotations_of_kind(about: Thing, structure: Structure, kind: str, like: Thing | None = None) -> list[Thing]:
    """Return the comments or privileges of an object, of those only that are about the same column as `like`."""
    return [
        each
        for each in annotations_of(about, structure)
        if each.kind == kind and (like is None or _column(each) == _column(like))
    ]


def has_privileges(about: Thing, structure: Structure) -> bool:
    """Whether an object as a whole, not a column of it, is declared with other than the built-in privileges."""
    return any(each.kind == "ACL" and not is_about_column(each) for each in annotations_of(about, structure))


def change_privileges(before: str, after: str) -> str:
    """Return what turns the privileges `before` into those `after`; either may be empty, which is the built-in default.

    All roles lose what they have and are granted what is declared: an object that is new has the default privileges.
    """
    found = [*_PRIVILEGE.finditer(before), *_PRIVILEGE.finditer(after)]
    target, column = found[0]["target"], re.search(r"\(.+?\)", found[0]["what"])
    to_public = _grant_to_public(target, after)
    roles = dict.fromkeys([*BY_DEFAULT, *(each["role"] for each in found if each[0].startswith("GRANT"))])
    roles.pop("PUBLIC", None)
    revoked = f"revoke all{f' {column[0]}' if column else ''} on {_lower(target)} from {', '.join(roles)};"
    granted = [line for line in after.splitlines() if not line.endswith(" FROM PUBLIC;")]
    return "\n".join([revoked, *granted, *to_public])


def revoke_defaults(thing: Thing) -> str | None:
    """Return what takes the default privileges from a new object that is declared without any, or None.

    Supabase grants everything on what is created in the schema public.
    """
    kind = next((word for word, kinds in _KINDS.items() if thing.kind in kinds), thing.kind)
    if thing.schema != "public" or kind not in ("TABLE", "SEQUENCE", "FUNCTION", "PROCEDURE"):
        return None
    return f"revoke all on {kind.lower()} {thing.qualified} from {', '.join(BY_DEFAULT[1:])};"


def remove_comment(before: str) -> str:
    """Return what removes the comment that the statement `before` makes."""
    return re.sub(r"^(COMMENT ON .*?) IS '.*", r"\1 IS NULL;", before, count=1, flags=re.DOTALL)


def _grant_to_public(target: str, after: str) -> list[str]:
    privilege = "usage" if target == "SCHEMA public" else _BUILT_IN.get(target.partition(" ")[0])
    if privilege is None or re.search(r" FROM PUBLIC;$", after, re.MULTILINE):
        return []
    return [f"grant {privilege} on {_lower(target)} to public;"]


def _column(thing: Thing) -> str:
    return thing.name if is_about_column(thing) else ""


def _lower(target: str) -> str:
    kind, _, name = target.partition(" ")
    return f"{kind.lower()} {name}"


def _kind_and_name(thing: Thing) -> tuple[str, str]:
    for kind in _TWO_WORDS:
        if thing.name.startswith(f"{kind} "):
            return kind, thing.name[len(kind) + 1 :]
    kind, _, name = thing.name.partition(" ")
    return kind, name


def _present(structure: Structure, kinds: tuple[str, ...], schema: str, name: str) -> Thing | None:
    candidates = (Thing(kind, schema, name) for kind in kinds)
    return next((each for each in candidates if each in structure), None)


def _table_of_column(schema: str, name: str, structure: Structure) -> Thing | None:
    table, _, column = name.rpartition(".")
    found = _present(structure, _KINDS["TABLE"], schema, table)
    return found if found and re.search(rf"\b{re.escape(column)}\b", structure[found]) else None


def _holding(structure: Structure, thing: Thing, table: str, part: str) -> Thing | None:
    """Return the table whose definition contains a constraint."""
    found = _present(structure, ("TABLE",), thing.schema, table)
    return found if found and f"CONSTRAINT {part} " in structure[found] else None


def _routine(kind: str, schema: str, name: str, structure: Structure) -> Thing | None:
    """Find a routine by its arguments with their names; the object itself is known by their types alone."""
    plain, _, arguments = name.removesuffix(")").partition("(")
    for each in structure:
        if (each.kind, each.schema) == (kind, schema) and each.name.startswith(f"{plain}("):
            types = each.name.removesuffix(")").partition("(")[2].split(", ")
            if _are_types_of(arguments.split(", "), types):
                return each
    return None


def _are_types_of(arguments: list[str], types: list[str]) -> bool:
    return len(arguments) == len(types) and all(
        argument == type_ or argument.endswith(f" {type_}") for argument, type_ in zip(arguments, types, strict=True)
    )
