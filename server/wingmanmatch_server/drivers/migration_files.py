"""The files of supabase/migrations/: `<UTC>_<verb>_<noun>.sql`, as Supabase's own CLI names and applies them.

The first lines of a file are its header:

    -- oldest-server: 20261201000000
    -- transaction: none

`oldest-server` names the newest migration known to the oldest server that still works after this one: for a compatible
step the newest of the version before, which knows no file made since; the file itself if all older servers fail.

With `transaction: none` our migrator runs the statements one by one, each in a transaction of its own; such a file must
be safe to run again from its start.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

# Begins a line that `make migration` leaves to a person; a file that has one is not applied.
DECIDE = "-- DECIDE: "
_OLDEST_SERVER = re.compile(r"-- oldest-server: (\d{14})\s")
_OLDEST_SERVER_COMMENT = re.compile(r"^\s*--\s*oldest-server\b.*$", re.MULTILINE | re.IGNORECASE)
_NO_TRANSACTION = re.compile(r"^-- transaction: none$", re.MULTILINE)
# Whatever looks as if it were meant as that header.
_TRANSACTION_COMMENT = re.compile(r"^\s*(?:--|/\*)\s*transaction(?:\s*:.*|\W+none\W*)$", re.MULTILINE | re.IGNORECASE)
_NAME = re.compile(r"[0-9]{14}_[a-z0-9]+(_[a-z0-9]+)*\.sql")
# What a semicolon does not end a statement in: comments, quoted texts and names, and dollar quotes.
_TOKEN = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|(\$\w*\$).*?\1|;", re.DOTALL)
_HEADER_LINES = 5


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `version` is its time stamp, `name` the rest of its name."""

    version: str
    name: str
    sql: str

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self.version}_{self.name}.sql"

    @property
    def oldest_server(self) -> str | None:
        """The version of the migration that its first line names; None without such a line."""
        found = _OLDEST_SERVER.match(self.sql)
        return found[1] if found else None

    @property
    def in_transaction(self) -> bool:
        """Whether the file is applied as one transaction."""
        header = "\n".join(self.sql.split("\n", _HEADER_LINES)[:_HEADER_LINES])
        return not _NO_TRANSACTION.search(header)


def read_migrations(directory: Path | None = None) -> list[Migration]:
    """Return the migrations of `directory`, by default those shipped with this version, oldest first."""
    return [read_migration(path) for path in sorted((directory or _shipped()).glob("*.sql"))]


def read_migration(path: Path) -> Migration:
    """Return the migration in one file. Raises UnicodeDecodeError if it is not UTF-8."""
    version, _, name = path.stem.partition("_")
    return Migration(version, name, path.read_text("utf-8"))


def known_versions() -> list[str]:
    """Return the versions of the migrations shipped with this version, oldest first."""
    return [path.stem.partition("_")[0] for path in sorted(_shipped().glob("*.sql"))]


def split_statements(sql: str) -> Sequence[str]:
    """Return the statements of a file in order, each with the comments before it and without its semicolon."""
    return [statement for part in _parts(sql) if _is_statement(statement := part.strip())]


def problems_of(migrations: Sequence[Migration]) -> Iterator[str]:
    """Yield a sentence for each rule on time stamps and headers that a file breaks, with the file and the remedy."""
    versions = [migration.version for migration in migrations]
    for position, migration in enumerate(migrations):
        if migration.version in versions[:position]:
            yield f"{migration.file}: another file has the same time stamp; rename the later one."
        if problem := _header_problem(migration, versions):
            yield f"{migration.file}: {problem}"
        if problem := _transaction_problem(migration):
            yield f"{migration.file}: {problem}"
        if not split_statements(migration.sql):
            yield f"{migration.file}: it has no statement; write one, or delete the file."


def name_problem(file: str) -> str | None:
    """Return a sentence on what is wrong with the name of a migration's file, or None."""
    if not re.match(r"[0-9]{14}_", file) or not _is_time(file[:14]):
        return f"{file}: the name must begin with 14 digits, YYYYMMDDhhmmss in UTC, and `_`; rename the file."
    if not _NAME.fullmatch(file):
        return f"{file}: the name must go on with words of a-z and 0-9 joined by `_`, and end in .sql; rename the file."
    return None


def _is_time(digits: str) -> bool:
    try:
        datetime.strptime(digits, "%Y%m%d%H%M%S")  # noqa: DTZ007 - only whether there is such a time
    except ValueError:
        return False
    return True


def _transaction_problem(migration: Migration) -> str | None:
    """The header either works or is refused: ignored, it would let the file run in a transaction unnoticed."""
    comments = [found[0].strip("\n") for found in _TRANSACTION_COMMENT.finditer(migration.sql)]
    if not comments or (len(comments) == 1 and not migration.in_transaction):
        return None
    return (
        f"`{comments[-1].strip()}` is no header, and would be ignored: write exactly `-- transaction: none` once, as a "
        f"line of its own among the first {_HEADER_LINES}, or word the comment differently."
    )


def _header_problem(migration: Migration, versions: Sequence[str]) -> str | None:
    named = migration.oldest_server
    if named is None:
        return (
            "the first line must be `-- oldest-server: VERSION`, the newest migration known to the oldest server that "
            "works after it: that of the version before for a compatible change, its own where older servers fail."
        )
    if len(_OLDEST_SERVER_COMMENT.findall(migration.sql)) > 1:
        return "it has more than one `-- oldest-server:`; keep the first line, and remove the others."
    if migration.sql.partition("\n")[0] != f"-- oldest-server: {named}":
        return "the first line must end with the version of `-- oldest-server:`; move what follows to a line below."
    if named > migration.version:
        return f"oldest-server {named} is newer than the file; name its predecessor, or the file itself."
    if named not in versions:
        return f"oldest-server {named} is the time stamp of no migration; name one of supabase/migrations/."
    return None


def _parts(sql: str) -> Iterator[str]:
    start = 0
    for token in _TOKEN.finditer(sql):
        if token[0] == ";":
            yield sql[start : token.start()]
            start = token.end()
    yield sql[start:]


def _is_statement(part: str) -> bool:
    return bool(re.sub(r"--[^\n]*|/\*.*?\*/", "", part, flags=re.DOTALL).strip())


def _shipped() -> Path:
    """Return the folder in an installed wheel, or in a checkout the one that Supabase's CLI reads."""
    packaged = Path(str(files("wingmanmatch_server"))) / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "supabase" / "migrations"
