"""Check supabase/: headers, each object once, nothing left to decide, and no DDL that is unsafe on tables with rows.

    python supabase/tools/lint_sql.py

`--migrations` and `--schemas` name other folders than those of this checkout.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from declared import SCHEMAS, read_declared, repeated
from pglast import parse_sql
from pglast.parser import ParseError

from wingmanmatch_server.drivers.migration_files import (
    DECIDE,
    Migration,
    name_problem,
    problems_of,
    read_migration,
    split_statements,
)
from wingmanmatch_server.drivers.schema_version import BASELINE

MIGRATIONS = SCHEMAS.parent / "migrations"
SPLIT_OTHERWISE = (
    "outside a transaction the server runs its statements one by one, and would split them at another place than "
    "PostgreSQL: write the quotes and comments more plainly, or move the statement to a file in a transaction."
)
# Our migrator sets lock_timeout and waits; 32 bits are enough for what is counted here.
EXCLUDED = ("require-lock-timeout", "require-statement-timeout", "prefer-bigint-over-int", "require-table-schema")


def problems(migrations: Path, schemas: Path) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong, with its file and the remedy."""
    yield from _names(migrations)
    yield from filter(None, map(text_problem, _files(migrations)))
    files = readable(migrations)
    yield from problems_of(files)
    yield from (
        f"{each.file}: a line begins with `{DECIDE.strip()}`; decide, and remove it."
        for each in files
        if DECIDE in each.sql
    )
    yield from (f"{each.file}: {SPLIT_OTHERWISE}" for each in files if not each.in_transaction and _splits_wrong(each))
    unreadable = list(filter(None, map(text_problem, _files(schemas))))
    yield from (f"supabase/schemas/{problem}" for problem in unreadable)
    if not unreadable:
        yield from repeated(read_declared(schemas))


def text_problem(path: Path) -> str | None:
    """Return a sentence on why a file cannot be read as SQL, or None."""
    try:
        text = path.read_text("utf-8")
        if text.startswith("\ufeff"):
            return f"{path.name}: it begins with a byte order mark; save it as UTF-8 without one."
        parse_sql(text)
    except UnicodeDecodeError as error:
        return f"{path.name}: byte {error.start} is not UTF-8; save it as UTF-8."
    except ParseError as error:
        message, position = (*error.args, 0)[:2]
        return f"{path.name}: line {text.count(chr(10), 0, position) + 1} is no SQL: {message}; correct it."
    return None


def readable(migrations: Path) -> list[Migration]:
    """Return the migrations that can be read as SQL, oldest first."""
    return [read_migration(path) for path in _files(migrations) if text_problem(path) is None]


def unsafe(migrations: Path) -> bool:
    """Print what squawk finds in the migrations after the baseline, whose tables had no rows; return whether it did."""
    files = [each for each in readable(migrations) if each.version != BASELINE and name_problem(each.file) is None]
    inside = [each for each in files if each.in_transaction]
    outside = [each for each in files if not each.in_transaction]
    # What is undone as a whole need not be safe to repeat; what is not undone must be.
    found = [_squawk(migrations, inside, "--assume-in-transaction"), _squawk(migrations, outside)]
    return any(found)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sql"))


def _names(migrations: Path) -> Iterator[str]:
    names = sorted(path.name for path in migrations.iterdir() if path.suffix.lower() == ".sql")
    yield from filter(None, map(name_problem, names))


def _splits_wrong(migration: Migration) -> bool:
    """Whether the server, which runs the statements one by one, sees others than PostgreSQL's parser does."""
    try:
        seen = [parse_sql(part) for part in split_statements(migration.sql)]
    except ParseError:
        return True
    return [[each.stmt for each in part] for part in seen] != [[each.stmt] for each in parse_sql(migration.sql)]


def _squawk(folder: Path, files: list[Migration], *options: str) -> bool:
    if not files:
        return False
    program = shutil.which("squawk", path=str(Path(sys.executable).parent)) or "squawk"
    command = (program, *options, f"--exclude={','.join(EXCLUDED)}", *(str(folder / each.file) for each in files))
    return subprocess.run(command, check=False).returncode != 0  # noqa: S603 - our own


def main() -> int:
    """Parse the command line, run the checks, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check supabase/ without a database.")
    parser.add_argument("--migrations", type=Path, default=MIGRATIONS)
    parser.add_argument("--schemas", type=Path, default=SCHEMAS)
    given = parser.parse_args()
    found = list(problems(given.migrations, given.schemas))
    for problem in found:
        print(problem, file=sys.stderr)
    return int(any([bool(found), unsafe(given.migrations)]))


if __name__ == "__main__":
    sys.exit(main())
