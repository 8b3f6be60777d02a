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
from delta import DECIDE

from wingmanmatch_server.drivers.migration_files import Migration, problems_of, read_migrations

MIGRATIONS = SCHEMAS.parent / "migrations"
# Our migrator sets lock_timeout and waits; 32 bits are enough for what is counted here.
EXCLUDED = ("require-lock-timeout", "require-statement-timeout", "prefer-bigint-over-int", "require-table-schema")


def problems(migrations: Path, schemas: Path) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong, with its file and the remedy."""
    files = read_migrations(migrations)
    yield from problems_of(files)
    yield from (
        f"{each.file}: a line begins with `{DECIDE.strip()}`; decide, and remove it."
        for each in files
        if DECIDE in each.sql
    )
    yield from repeated(read_declared(schemas))


def unsafe(migrations: Path) -> bool:
    """Print what squawk finds in the migrations after the baseline, whose tables had no rows; return whether it did."""
    files = read_migrations(migrations)[1:]
    inside = [each for each in files if each.in_transaction]
    outside = [each for each in files if not each.in_transaction]
    # What is undone as a whole need not be safe to repeat; what is not undone must be.
    found = [_squawk(migrations, inside, "--assume-in-transaction"), _squawk(migrations, outside)]
    return any(found)


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
