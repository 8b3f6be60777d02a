"""Write the migration that brings a database from supabase/migrations/ to supabase/schemas/.

    python supabase/tools/new_migration.py NAME
    python supabase/tools/new_migration.py --check    only say what differs; exit 1 if anything does

What needs a person's decision is named in lines that `make lint` refuses until they are gone.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from declared import apply_text, read_declared
from delta import differences, write_delta
from structure import Structure, structure_of_migrations, structure_of_script

from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import DECIDE, read_migrations

REPOSITORY = Path(__file__).resolve().parents[2]
MIGRATIONS = REPOSITORY / "supabase" / "migrations"
TIME_STAMP = "%Y%m%d%H%M%S"
PREVIOUS_VERSION = REPOSITORY / "tests" / "previous_version"
NOTHING = f"{DECIDE}the schema does not change. Write what is to be done with the rows, or delete this file.\n"


def compare() -> tuple[Structure, Structure]:
    """Return what the migrations make and what the schemas declare, tried on an engine of its own."""
    with tempfile.TemporaryDirectory() as folder:
        engines = EmbeddedEngines(Path(folder), valkey=False)
        engines.start()
        try:
            engines.wait()
            dsn = engines.postgres_dsn
            return structure_of_migrations(dsn, read_migrations(MIGRATIONS)), structure_of_script(dsn, apply_text())
        finally:
            engines.stop()


def check() -> int:
    """Print what differs and return the exit code."""
    found = differences(*compare())
    print("\n".join(found) or "supabase/schemas/ and supabase/migrations/ are equal.")
    return bool(found)


def oldest_server() -> str:
    """Return the newest migration of the version before, by git; the newest of all where git does not know it."""
    newest = read_migrations(MIGRATIONS)[-1].version
    try:
        commit = PREVIOUS_VERSION.read_text("utf-8").split()[-1]
        command = ("git", "-C", str(REPOSITORY), "ls-tree", "--name-only", f"{commit}:supabase/migrations")
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own
    except (OSError, subprocess.CalledProcessError):
        return newest
    return max((file.partition("_")[0] for file in listed.split()), default=newest)


def write(name: str, now: Callable[[], datetime]) -> int:
    """Write the migration and return the exit code."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name):
        raise SystemExit("NAME must be a verb and a noun in lower case, such as add_nicknames")
    newest = read_migrations(MIGRATIONS)[-1].version
    version = max(now().strftime(TIME_STAMP), _second_after(newest))
    body = write_delta(*compare(), read_declared()) or NOTHING
    path = MIGRATIONS / f"{version}_{name}.sql"
    path.write_text(f"-- oldest-server: {oldest_server()}\n--\n{DECIDE}say why in this place.\n\n{body}", "utf-8")
    lines = body.count(DECIDE) + 1
    print(f"{path.relative_to(REPOSITORY)}: decide the lines that begin with `{DECIDE.strip()}`, {lines} in all.")
    return 0


def _second_after(version: str) -> str:
    try:
        after = datetime.strptime(version, TIME_STAMP).replace(tzinfo=UTC) + timedelta(seconds=1)
    except ValueError:
        raise SystemExit(f"The newest migration's time stamp {version} is no time: `make lint` says more.") from None
    return after.strftime(TIME_STAMP)


def main() -> int:
    """Parse the command line and return the exit code."""
    parser = argparse.ArgumentParser(description="Write the migration from supabase/migrations/ to supabase/schemas/.")
    parser.add_argument("name", nargs="?", help="a verb and a noun, such as add_nicknames")
    parser.add_argument("--check", action="store_true", help="only say what differs")
    given = parser.parse_args()
    if given.check:
        return check()
    return write(given.name or "", lambda: datetime.now(UTC))


if __name__ == "__main__":
    sys.exit(main())
