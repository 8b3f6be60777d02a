"""`make migration` and the lint of supabase/, tried on copies of the folder."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SUPABASE = Path(__file__).resolve().parents[3] / "supabase"
NEWEST = max(path.name for path in (SUPABASE / "migrations").glob("*.sql"))[:14]

LATER = "20990101000000"

BADGES = """
create table public.badges (
    user_id uuid primary key references public.user_profiles on delete cascade,
    badge text not null check (badge <> '')
);

comment on table public.badges is 'One row a person with a badge.';

create index badges_by_badge on public.badges (badge);

alter table public.badges enable row level security;
revoke all on table public.badges from public, anon, authenticated;
grant select, insert, update, delete on table public.badges to service_role;
grant select on table public.badges to authenticated;
create policy badges_own on public.badges for select to authenticated using (user_id = (select auth.uid()));

create function internal.badge_of(p_user_id uuid)
    returns text
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- A comment of the body.
    return (select b.badge from public.badges b where b.user_id = p_user_id);
end
$$;

comment on function internal.badge_of is 'Returns a badge.';

create function public.get_badge(p_user_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return to_jsonb(internal.badge_of(p_user_id));
end
$$;

comment on function public.get_badge is 'Returns a badge.';

revoke execute on function public.get_badge from public, anon, authenticated;
grant execute on function public.get_badge to service_role;
"""


@pytest.fixture
def supabase(tmp_path: Path) -> Path:
    """A copy of the folder."""
    return Path(shutil.copytree(SUPABASE, tmp_path / "supabase", ignore=shutil.ignore_patterns("__pycache__")))


def run(supabase: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the folder's tools."""
    return subprocess.run([sys.executable, supabase / "tools" / tool, *arguments], capture_output=True, text=True)


def make(supabase: Path, name: str) -> str:
    """Write a migration and return its text."""
    result = run(supabase, "new_migration.py", name)
    assert result.returncode == 0, result.stderr
    (path,) = (supabase / "migrations").glob(f"*_{name}.sql")
    assert path.name > NEWEST
    return path.read_text("utf-8")


def git(supabase: Path, *arguments: str) -> str:
    """Run git in the folder that holds the copy, and return what it prints."""
    author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.test", "-c", "commit.gpgsign=false")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ("git", *author, *arguments)
    return subprocess.run(
        command, cwd=supabase.parent, env=environment, check=True, capture_output=True, text=True
    ).stdout


def edit(supabase: Path, file: str, change: Callable[[str], str]) -> None:
    """Change a file, and fail if that changes nothing."""
    path = supabase / file
    before = path.read_text("utf-8")
    path.write_text(change(before), "utf-8")
    assert path.read_text("utf-8") != before


def test_header_names_the_version_before(supabase: Path) -> None:
    """Every migration since the version before names that version's newest, which is all that it knows."""
    git(supabase, "init", "--quiet")
    git(supabase, "add", "--all")
    git(supabase, "commit", "--quiet", "--message", "All")
    (supabase.parent / "tests").mkdir()
    previous = git(supabase, "rev-parse", "HEAD")
    (supabase.parent / "tests" / "previous_version").write_text(f"# The commit.\n{previous}", "utf-8")
    since = f"-- oldest-server: {NEWEST}\nselect 1;\n"
    (supabase / "migrations" / f"{LATER}_change_nothing.sql").write_text(since, "utf-8")
    assert make(supabase, "add_badges").startswith(f"-- oldest-server: {NEWEST}\n")


def test_a_changed_rule_becomes_a_complete_migration(supabase: Path) -> None:
    """A changed function, new ones with their grants and a new table need nothing but a reason."""
    edit(supabase, "schemas/12_match_answers.sql", lambda text: text.replace("may respond", "may answer"))
    edit(supabase, "schemas/99_internal.sql", lambda text: text + BADGES + text)
    assert run(supabase, "new_migration.py", "--check").returncode == 1
    text = make(supabase, "add_badges")
    assert text.startswith(f"-- oldest-server: {NEWEST}\n")
    assert "create or replace function public.respond_to_match(" in text
    assert "create or replace" not in text.replace("create or replace function public.respond_to_match(", "")
    assert "-- A comment of the body." in text
    assert text.count("-- DECIDE: ") == 1
    assert "a line begins with `-- DECIDE:`" in run(supabase, "lint_sql.py").stderr

    written = next((supabase / "migrations").glob("*_add_badges.sql"))
    written.write_text(text.replace("-- DECIDE: say why in this place.", "-- People have badges."), "utf-8")
    assert run(supabase, "lint_sql.py").returncode == 0
    check = run(supabase, "new_migration.py", "--check")
    assert (check.returncode, check.stdout) == (0, "supabase/schemas/ and supabase/migrations/ are equal.\n")


def test_changes_of_tables_with_rows_are_left_to_a_person(supabase: Path) -> None:
    """A column, an index of an existing table and a public function that goes are named, with what differs."""
    edit(
        supabase,
        "schemas/02_profiles.sql",
        lambda text: (
            text.replace("active boolean not null,\n", "active boolean not null,\n    nickname text,\n", 1)
            + "\ncreate index profiles_by_city on public.user_profiles (city);\n"
        ),
    )
    edit(
        supabase,
        "schemas/01_foundation.sql",
        lambda text: (
            re.sub(
                r"create function public\.health.*?comment on function public\.health[^;]*;", "", text, flags=re.DOTALL
            )
            .replace("public.purge_request_keys, public.health", "public.purge_request_keys")
            .replace("grant execute on function public.health to anon;\n", "")
        ),
    )
    text = make(supabase, "change_profiles")
    assert re.search(
        r"^-- DECIDE: table public\.user_profiles changes\..*\n(--.*\n)+--   \+    nickname text", text, re.MULTILINE
    )
    assert re.search(
        r"^-- DECIDE: index public\.profiles_by_city is new on a table with rows\..*`-- transaction: none`",
        text,
        re.MULTILINE,
    )
    assert re.search(r"^-- DECIDE: function public\.health\(\) is no longer declared\.", text, re.MULTILINE)
    assert not re.search(r"^(alter table|create index|drop)", text, re.MULTILINE)


def test_a_helper_that_goes_is_dropped(supabase: Path) -> None:
    """No server calls what is internal, so it may go at once."""
    edit(supabase, "schemas/99_internal.sql", lambda text: text + BADGES + text)
    with_badges = make(supabase, "add_badges")
    written = next((supabase / "migrations").glob("*_add_badges.sql"))
    written.write_text(with_badges.replace("-- DECIDE: ", "-- "), "utf-8")
    edit(
        supabase,
        "schemas/99_internal.sql",
        lambda text: re.sub(
            r"create function internal\.badge_of.*?'Returns a badge\.';", "", text, count=1, flags=re.DOTALL
        ).replace("to_jsonb(internal.badge_of(p_user_id))", "null"),
    )
    text = make(supabase, "drop_badge_helper")
    assert "drop function internal.badge_of(uuid);" in text


def test_without_a_change_the_rows_are_meant(supabase: Path) -> None:
    """A migration of data begins with its header and what is left to do."""
    assert make(supabase, "fill_gaps").count("-- DECIDE: ") == 2


@pytest.mark.parametrize("name", ["", "Add", "add", "add-badge", "../x_y"])
def test_a_name_is_a_verb_and_a_noun(supabase: Path, name: str) -> None:
    """Any other name is refused, and nothing is written."""
    before = sorted((supabase / "migrations").iterdir())
    result = run(supabase, "new_migration.py", name)
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert "NAME must be a verb and a noun" in result.stderr
    assert sorted((supabase / "migrations").iterdir()) == before


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
