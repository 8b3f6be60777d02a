"""Copies of the folder supabase/, edited and worked on by its own tools."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SUPABASE = Path(__file__).resolve().parents[2] / "supabase"
NEWEST = max(path.name for path in (SUPABASE / "migrations").glob("*.sql"))[:14]
# Newer than every migration that there is.
LATER = "20990101000000"
EQUAL = "supabase/schemas/ and supabase/migrations/ are equal.\n"


def run(supabase: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the folder's tools."""
    return subprocess.run([sys.executable, supabase / "tools" / tool, *arguments], capture_output=True, text=True)


def edit(supabase: Path, file: str, change: Callable[[str], str]) -> None:
    """Change a file, and fail if that changes nothing."""
    path = supabase / file
    before = path.read_text("utf-8")
    path.write_text(change(before), "utf-8")
    assert path.read_text("utf-8") != before


def make(supabase: Path, name: str) -> str:
    """Write a migration and return its text."""
    result = run(supabase, "new_migration.py", name)
    assert result.returncode == 0, result.stderr
    (path,) = (supabase / "migrations").glob(f"*_{name}.sql")
    assert path.name > NEWEST
    return path.read_text("utf-8")


def decide(supabase: Path, name: str, sql: str = "") -> None:
    """Put `sql` in the place of all that a written migration leaves to a person."""
    (path,) = (supabase / "migrations").glob(f"*_{name}.sql")
    header, _, body = re.sub(
        r"^-- DECIDE: .*\n(--   .*\n)*", "", path.read_text("utf-8"), flags=re.MULTILINE
    ).partition("\n\n")
    path.write_text(f"{header}\n\n{sql}\n{body}", "utf-8")


def compare(supabase: Path) -> str:
    """Return what `--check` prints of the folder: EQUAL, or what differs."""
    result = run(supabase, "new_migration.py", "--check")
    assert result.stderr == ""
    assert result.returncode == (result.stdout != EQUAL)
    return result.stdout
