"""The lint of supabase/, tried on copies of the folder."""

import re
from pathlib import Path

import pytest

from support.supabase_copy import LATER, NEWEST, edit, run
from wingmanmatch_server.drivers.schema_version import BASELINE

HEADER = f"-- oldest-server: {NEWEST}\n"


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({f"{LATER}_x_y.sql": "select 1;\n"}, f"{LATER}_x_y.sql: the first line must be `-- oldest-server: VERSION`"),
        (
            {f"{LATER}_x_y.sql": "-- oldest-server: 20990102000000\nselect 1;\n"},
            f"{LATER}_x_y.sql: oldest-server 20990102000000 is newer than the file; name its predecessor",
        ),
        (
            {f"{LATER}_x_y.sql": "-- oldest-server: 20200101000000\nselect 1;\n"},
            f"{LATER}_x_y.sql: oldest-server 20200101000000 is the time stamp of no migration; name one of",
        ),
        (
            {f"{LATER}_{name}.sql": f"-- oldest-server: {LATER}\nselect 1;\n" for name in ("a_b", "c_d")},
            f"{LATER}_c_d.sql: another file has the same time stamp; rename the later one",
        ),
        (
            {"2099_x_y.sql": f"-- oldest-server: {NEWEST}\nselect 1;\n"},
            "2099_x_y.sql: the name must begin with 14 digits",
        ),
        (
            {f"{LATER}_x_y.sql": f"-- oldest-server: {NEWEST}\ncreate index i on public.matches (state);\n"},
            "require-concurrent-index-creation",
        ),
        (
            {f"{LATER}_x_y.sql": f"-- oldest-server: {NEWEST}\nalter table public.matches add a text not null;\n"},
            "adding-required-field",
        ),
        (
            {
                f"{LATER}_x_y.sql": f"-- oldest-server: {NEWEST}\n-- transaction: none\n"
                "create index concurrently i on public.matches (state);\n"
            },
            "prefer-robust-stmts",
        ),
    ],
    ids=["no header", "newer", "unknown", "same time stamp", "name", "index", "required column", "not repeatable"],
)
def test_lint_refuses(supabase: Path, files: dict[str, str], complaint: str) -> None:
    """Each is refused, with the file and the remedy; the copy as it is passes."""
    assert run(supabase, "lint_sql.py").returncode == 0
    for name, text in files.items():
        (supabase / "migrations" / name).write_text(text, "utf-8")
    result = run(supabase, "lint_sql.py")
    assert result.returncode == 1
    assert complaint in result.stdout + result.stderr


def test_lint_refuses_an_object_that_stands_twice(supabase: Path) -> None:
    """A second definition would be dead or deadly; the sentence names both files."""
    health = re.search(
        r"create function public\.health.*?\$\$;",
        (supabase / "schemas/01_foundation.sql").read_text("utf-8"),
        re.DOTALL,
    )
    assert health
    edit(supabase, "schemas/99_internal.sql", lambda text: f"{text}\n{health[0]}\n")
    result = run(supabase, "lint_sql.py")
    assert result.returncode == 1
    assert (
        "supabase/schemas/99_internal.sql: function public.health is created in 01_foundation.sql already"
        in result.stderr
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{HEADER}-- Transaction: none\nselect 1;\n", "`-- Transaction: none` is no header"),
        (f"{HEADER}-- transaction: none \nselect 1;\n", "`-- transaction: none` is no header"),
        (f"{HEADER}--\n--\n--\n--\n-- transaction: none\nselect 1;\n", "`-- transaction: none` is no header"),
        (f"{HEADER}--transaction: no\nselect 1;\n", "`--transaction: no` is no header"),
        (f"{HEADER}-- transaction none\nselect 1;\n", "`-- transaction none` is no header"),
        (f"{HEADER}{HEADER}select 1;\n", "it has more than one `-- oldest-server:`"),
        (f"-- oldest-server: {NEWEST} or so\nselect 1;\n", "the first line must end with the version"),
        (f"{HEADER}-- Nothing yet.\n", "it has no statement"),
        (f"{HEADER}select 1 from;\n", "line 2 is no SQL: syntax error at or near"),
        (f"\ufeff{HEADER}select 1;\n", "it begins with a byte order mark"),
        (
            f"{HEADER}-- transaction: none\nselect 1 /* a /* b */ ; */ + 1;\n",
            "outside a transaction the server runs its statements one by one, and would split them",
        ),
        (
            f"{HEADER}-- transaction: none\nselect e'\\'', 1; select e'\\'';\n",
            "outside a transaction the server runs its statements one by one, and would split them",
        ),
    ],
)
def test_lint_refuses_the_text(supabase: Path, text: str, complaint: str) -> None:
    """Headers that would be ignored and texts that are no SQL get a sentence with the file, and no traceback."""
    (supabase / "migrations" / f"{LATER}_x_y.sql").write_text(text, "utf-8")
    result = run(supabase, "lint_sql.py")
    assert result.returncode == 1
    assert f"{LATER}_x_y.sql: {complaint}" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("folder", ["migrations", "schemas"])
def test_lint_refuses_other_encodings(supabase: Path, folder: str) -> None:
    """A file that is not UTF-8 gets a sentence that names it, whichever folder it is in."""
    (supabase / folder / f"{LATER}_x_y.sql").write_bytes(f"{HEADER}select 'Zo\xeb';\n".encode("latin-1"))
    result = run(supabase, "lint_sql.py")
    assert result.returncode == 1
    assert re.search(rf"{LATER}_x_y\.sql: byte \d+ is not UTF-8; save it as UTF-8\.", result.stderr)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("20991301000000_x_y.sql", "must begin with 14 digits"),
        ("20990101000060_x_y.sql", "must begin with 14 digits"),
        ("20990101000000.sql", "must begin with 14 digits"),
        ("20990101000000_.sql", "must go on with words"),
        ("20990101000000_X_y.sql", "must go on with words"),
        ("20990101000000_x__y.sql", "must go on with words"),
        ("20990101000000_x y.sql", "must go on with words"),
        ("20990101000000_x_y.SQL", "must go on with words"),
    ],
)
def test_lint_refuses_the_name(supabase: Path, name: str, rule: str) -> None:
    """Names are a real time and words, so that every tool sees the file and applies it in its turn."""
    (supabase / "migrations" / name).write_text(f"{HEADER}select 1;\n", "utf-8")
    result = run(supabase, "lint_sql.py")
    assert result.returncode == 1
    assert f"{name}: the name {rule}" in result.stderr


def test_lint_accepts_what_is_split_alike(supabase: Path) -> None:
    """Semicolons in comments, quotes and bodies outside a transaction are no reason to refuse a file."""
    text = f"{HEADER}-- transaction: none\n-- One; two.\nselect ';' /* ; */;\ndo $a$ begin perform 1; end $a$;\n"
    (supabase / "migrations" / f"{LATER}_x_y.sql").write_text(text, "utf-8")
    result = run(supabase, "lint_sql.py")
    assert (result.returncode, result.stderr) == (0, "")


def test_only_the_baseline_may_be_unsafe(supabase: Path) -> None:
    """A file that sorts before the baseline does not take its exemption."""
    earlier = "20200101000000"
    assert earlier < BASELINE
    (supabase / "migrations" / f"{earlier}_x_y.sql").write_text(
        f"-- oldest-server: {earlier}\nalter table public.matches add a text not null;\n", "utf-8"
    )
    result = run(supabase, "lint_sql.py")
    assert result.returncode == 1
    assert result.stdout.count("adding-required-field") >= 1
    assert f"{BASELINE}_baseline.sql" not in result.stdout + result.stderr
