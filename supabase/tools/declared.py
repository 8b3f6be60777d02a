"""The statements of supabase/schemas/, by the object that each creates."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pglast import parse_sql

SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"


@dataclass(frozen=True, slots=True)
class Statement:
    """A `create` statement with the comments before it: `kind` as pg_dump names it, such as FUNCTION."""

    file: str
    kind: str
    name: str
    sql: str

    @property
    def key(self) -> tuple[str, str]:
        """What no two statements share."""
        return self.kind, self.name


def read_declared(folder: Path = SCHEMAS) -> list[Statement]:
    """Return what the files of `folder` create, in the order in which they apply."""
    return [statement for path in sorted(folder.glob("*.sql")) for statement in _statements(path)]


def apply_text(folder: Path = SCHEMAS) -> str:
    """Return all files of `folder` as one script."""
    return "\n".join(path.read_text("utf-8") for path in sorted(folder.glob("*.sql")))


def repeated(statements: Iterable[Statement]) -> Iterator[str]:
    """Yield a sentence for each object that is created twice."""
    first: dict[tuple[str, str], str] = {}
    for statement in statements:
        if statement.key in first:
            yield (
                f"supabase/schemas/{statement.file}: {statement.kind.lower()} {statement.name} is created in "
                f"{first[statement.key]} already; keep one of the two."
            )
        first.setdefault(statement.key, statement.file)


def by_key(statements: Iterable[Statement]) -> Mapping[tuple[str, str], Statement]:
    """Return the statements by what they create."""
    return {statement.key: statement for statement in statements}


def _statements(path: Path) -> Iterator[Statement]:
    text = path.read_text("utf-8")
    for parsed in parse_sql(text):
        created = _created(parsed.stmt)
        if created:
            start: int = parsed.stmt_location or 0
            end: int = start + parsed.stmt_len if parsed.stmt_len else len(text)
            yield Statement(path.name, *created, text[start:end].strip())


def _created(node: Any) -> tuple[str, str] | None:
    """Return the kind and the name of what a parsed statement creates, or None if it creates nothing."""
    found = _CREATES.get(type(node).__name__)
    return (found[0], found[1](node)) if found else None


def _dotted(names: Iterable[Any]) -> str:
    return ".".join(part.sval for part in names)


def _qualified(relation: Any) -> str:
    return f"{relation.schemaname}.{relation.relname}"


_CREATES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "CreateFunctionStmt": ("FUNCTION", lambda node: _dotted(node.funcname)),
    "CreateStmt": ("TABLE", lambda node: _qualified(node.relation)),
    "CompositeTypeStmt": ("TYPE", lambda node: _qualified(node.typevar)),
    "CreateEnumStmt": ("TYPE", lambda node: _dotted(node.typeName)),
    "CreateDomainStmt": ("DOMAIN", lambda node: _dotted(node.domainname)),
    "CreateSeqStmt": ("SEQUENCE", lambda node: _qualified(node.sequence)),
    "ViewStmt": ("VIEW", lambda node: _qualified(node.view)),
    "CreateTableAsStmt": ("MATERIALIZED VIEW", lambda node: _qualified(node.into.rel)),
    "IndexStmt": ("INDEX", lambda node: f"{node.relation.schemaname}.{node.idxname}"),
    "CreateTrigStmt": ("TRIGGER", lambda node: f"{_qualified(node.relation)} {node.trigname}"),
    "CreatePolicyStmt": ("POLICY", lambda node: f"{_qualified(node.table)} {node.policy_name}"),
    "CreateSchemaStmt": ("SCHEMA", lambda node: node.schemaname),
}
