"""`make migration`, tried on copies of supabase/."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.supabase_copy import EQUAL, LATER, NEWEST, compare, decide, edit, make, run

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


def git(supabase: Path, *arguments: str) -> str:
    """Run git in the folder that holds the copy, and return what it prints."""
    author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.test", "-c", "commit.gpgsign=false")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ("git", *author, *arguments)
    return subprocess.run(
        command, cwd=supabase.parent, env=environment, check=True, capture_output=True, text=True
    ).stdout


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
    assert compare(supabase) == EQUAL


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


def test_privileges_and_comments_that_go_alone_are_removed(supabase: Path) -> None:
    """What was granted on a column, to the service role or to PUBLIC, and a comment, goes from objects that stay."""
    edit(
        supabase,
        "schemas/40_notifications.sql",
        lambda text: text.replace("grant select (id, kind, state,", "grant select (id, kind,"),
    )
    edit(
        supabase,
        "schemas/13_match_lists.sql",
        lambda text: (
            re.sub(r"comment on function public\.get_match is '[^;]*;", "", text)
            + "\ngrant execute on function public.get_match to public;\n"
        ),
    )
    edit(
        supabase,
        "schemas/10_matches.sql",
        lambda text: text.replace(
            "table public.matches from public", "table public.matches from service_role, public", 1
        ).replace(
            "grant select, insert, update, delete on table public.matches", "grant select on table public.matches", 1
        ),
    )
    edit(
        supabase,
        "schemas/05_migrations.sql",
        lambda text: text + "\nrevoke all on function public.get_migrations from service_role;\n",
    )
    text = make(supabase, "narrow_access")
    assert text.count("-- DECIDE: ") == 1
    assert "revoke all (state) on table public.notifications from public, anon, authenticated, service_role;" in text
    assert "COMMENT ON FUNCTION public.get_match(p_match_id uuid, p_user_id uuid) IS NULL;" in text
    decide(supabase, "narrow_access")
    assert compare(supabase) == EQUAL


def test_column_privileges_outlive_a_change_of_those_of_the_table(supabase: Path) -> None:
    """Revoking from a table revokes from its columns: what is still declared for these is granted again."""
    edit(
        supabase,
        "schemas/40_notifications.sql",
        lambda text: text + "\ngrant truncate on table public.notifications to authenticated;\n",
    )
    text = make(supabase, "grant_truncate")
    assert text.index("TRUNCATE ON TABLE") < text.index("GRANT SELECT(state) ON TABLE public.notifications")
    decide(supabase, "grant_truncate")
    assert compare(supabase) == EQUAL


def test_the_order_of_grants_makes_no_difference(supabase: Path) -> None:
    """Who was granted something first is nothing that a migration could change."""
    grants = (
        "grant select, insert, update, delete on table public.matches to service_role;",
        "grant select on table public.matches to authenticated;",
    )
    edit(supabase, "schemas/10_matches.sql", lambda text: text.replace("\n".join(grants), "\n".join(grants[::-1])))
    assert compare(supabase) == EQUAL


def test_every_line_of_a_body_counts(supabase: Path) -> None:
    """A body's line that looks like a setting or a comment of pg_dump's own is a difference like any other."""
    edit(
        supabase,
        "schemas/13_match_lists.sql",
        lambda text: text.replace("begin\n    return jsonb", "begin\nSET LOCAL work_mem = '1MB';\n    return jsonb", 1),
    )
    assert "function public.get_match(uuid, uuid) differs" in compare(supabase)


USED_BEFORE_NAMES = """
create type internal.mood as enum ('LOW', 'HIGH');
create domain public.nickname as text check (value <> '');
create sequence public.tickets;
revoke all on sequence public.tickets from public, anon, authenticated, service_role;
create view internal.match_ids as select id from public.matches;
create materialized view internal.cities as select city from public.user_profiles;

create table public.aliases (
    id bigint generated always as identity primary key,
    serial_number serial,
    ticket bigint not null default nextval('public.tickets'),
    nickname public.nickname not null
);
alter table public.aliases enable row level security;
revoke all on table public.aliases from public, anon, authenticated, service_role;

grant select (id) on table public.aliases to authenticated;
create sequence public.labels;
create table public.labels_used (label bigint primary key default nextval('public.labels'));
alter sequence public.labels owned by public.labels_used.label;
alter table public.labels_used enable row level security;

create function internal.a_city()
    returns setof internal.cities
    language sql
    stable
    set search_path = ''
as $$
    select * from internal.cities
$$;

create function internal.a_mood(p_text text)
    returns internal.mood
    language plpgsql
    immutable
    set search_path = ''
as $$
begin
    return p_text::internal.mood;
end
$$;

create function internal.a_match()
    returns setof internal.match_ids
    language sql
    stable
    set search_path = ''
as $$
    select * from internal.match_ids
$$;
"""


def test_what_is_new_comes_before_what_uses_it(supabase: Path) -> None:
    """Types, domains, views and sequences come in the order of the files; a table brings its own sequences."""
    edit(supabase, "schemas/99_internal.sql", lambda text: USED_BEFORE_NAMES + text)
    text = make(supabase, "add_aliases")
    assert text.count("-- DECIDE: ") == 1
    assert "create view internal.match_ids as select id" in text
    assert not re.search(r"(?i)create sequence .*aliases|add generated|aliases.*owned by", text)
    decide(supabase, "add_aliases")
    assert compare(supabase) == EQUAL


def test_a_helper_that_cannot_be_replaced_is_made_anew(supabase: Path) -> None:
    """With another parameter's name it is dropped first, and has its comment and privileges again."""
    edit(
        supabase,
        "schemas/50_coaching.sql",
        lambda text: re.sub(
            r"(create function internal\.coaching_meetup.*?\n\$\$;)",
            lambda found: found[1].replace("p_user_id", "p_person_id"),
            text,
            flags=re.DOTALL,
        ),
    )
    edit(
        supabase,
        "schemas/13_match_lists.sql",
        lambda text: text.replace("create function public.get_match", "CREATE FUNCTION public.get_match").replace(
            "jsonb_build_object('match', internal", "jsonb_build_object('a_match', internal", 1
        ),
    )
    text = make(supabase, "rename_parameters")
    assert text.count("-- DECIDE: ") == 1
    assert "drop function internal.coaching_meetup(uuid);\n\ncreate function internal.coaching_meetup(" in text
    assert "create or replace function public.get_match(" in text
    decide(supabase, "rename_parameters")
    assert run(supabase, "lint_sql.py").returncode == 0
    assert compare(supabase) == EQUAL


def test_functions_that_others_depend_on_are_left_to_a_person(supabase: Path) -> None:
    """Servers call what is public, and triggers keep their functions: both are named, with what differs."""
    edit(
        supabase,
        "schemas/13_match_lists.sql",
        lambda text: re.sub(
            r"(create function public\.get_match\(.*?\n    returns) jsonb", r"\1 json", text, flags=re.DOTALL
        ),
    )
    edit(
        supabase,
        "schemas/34_match_events.sql",
        lambda text: re.sub(
            r"create function internal\.open_match_event_feeds.*?create trigger open_match_event_feeds[^;]*;",
            "",
            text,
            flags=re.DOTALL,
        ),
    )
    text = make(supabase, "change_answers")
    assert re.search(
        r"^-- DECIDE: function public\.get_match\(uuid, uuid\) changes\. .*\n(--   .*\n)*--   \+.*RETURNS json$",
        text,
        re.MULTILINE,
    )
    assert re.search(
        r"^-- DECIDE: function internal\.open_match_event_feeds\(\) is no longer declared", text, re.MULTILINE
    )
    assert not re.search(r"^(drop|create)", text, re.MULTILINE)
    declared = (supabase / "schemas/13_match_lists.sql").read_text("utf-8")
    created = re.search(r"create function public\.get_match.*?\n\$\$;", declared, re.DOTALL)
    assert created
    decide(
        supabase,
        "change_answers",
        "drop trigger open_match_event_feeds on public.user_profiles;\n"
        "drop function internal.open_match_event_feeds();\n"
        f"drop function public.get_match(uuid, uuid);\n{created[0]}\n",
    )
    assert compare(supabase) == EQUAL
