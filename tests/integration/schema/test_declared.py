"""supabase/schemas/ and supabase/migrations/ make the same database, on every PostgreSQL that is there."""

from collections.abc import Iterator

import pytest
from declared import apply_text, read_declared, repeated
from delta import differences
from structure import Thing, structure_of_migrations, structure_of_script

from support.installations import cluster_of
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import Migration, read_migrations

VERSIONS = (15, 16, 17, 18)
PLANTED = "20990101000000"


@pytest.fixture(params=VERSIONS, scope="module")
def cluster(request: pytest.FixtureRequest, engines: EmbeddedEngines) -> Iterator[str]:
    """The superuser's DSN on each version; those that this machine lacks are skipped by name."""
    with cluster_of(request.param, engines.postgres_dsn) as dsn:
        yield dsn


def test_both_make_the_same_structure(cluster: str) -> None:
    """Tables, functions, grants, policies and comments are the same, to the letter of pg_dump."""
    migrated = structure_of_migrations(cluster, read_migrations())
    declared = structure_of_script(cluster, apply_text())
    assert len([thing for thing in declared if thing.kind == "FUNCTION"]) > 200
    assert {"ACL", "COMMENT", "POLICY", "TRIGGER", "INDEX", "TABLE"} <= {thing.kind for thing in declared}
    assert differences(migrated, declared) == []


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        (
            "create table public.extra (id integer)",
            "table public.extra is made by supabase/migrations/ and not declared: add it to its file",
        ),
        (
            "create or replace function internal.erased_user_id() returns uuid language sql return null::uuid",
            "function internal.erased_user_id() differs between supabase/schemas/ and supabase/migrations/: run `make",
        ),
        (
            "drop function public.health",
            "function public.health() is declared in supabase/schemas/ and missing from supabase/migrations/: run",
        ),
        ("grant select on public.match_pool to anon", "acl public.TABLE match_pool differs"),
        ("comment on table public.match_pool is 'x'", "comment public.TABLE match_pool differs"),
        ("alter table public.match_pool disable row level security", "row security public.match_pool is declared"),
    ],
    ids=["table", "changed function", "missing function", "grant", "comment", "row security"],
)
def test_a_difference_is_named_with_its_remedy(engines: EmbeddedEngines, sql: str, sentence: str) -> None:
    """A migration that schemas/ does not know, and a change of schemas/ without a delta, are each one sentence."""
    migrations = [*read_migrations(), Migration(PLANTED, "differ", f"-- oldest-server: {PLANTED}\n{sql};\n")]
    migrated = structure_of_migrations(engines.postgres_dsn, migrations)
    declared = structure_of_script(engines.postgres_dsn, apply_text())
    found = differences(migrated, declared)
    assert any(each.startswith(sentence) for each in found), found


def test_each_object_stands_once() -> None:
    """The first hit of a search for a function or a table is the only one."""
    statements = read_declared()
    assert list(repeated(statements)) == []
    assert list(repeated([*statements, statements[0]])) != []


def test_what_the_server_calls_is_public_and_its_helpers_are_not(engines: EmbeddedEngines) -> None:
    """PostgREST exposes as many functions as the server calls."""
    declared = structure_of_script(engines.postgres_dsn, apply_text())
    functions = [thing for thing in declared if thing.kind == "FUNCTION"]
    assert {thing.schema for thing in functions} == {"public", "internal"}
    assert sum(thing.schema == "public" for thing in functions) < 0.4 * len(functions)
    assert Thing("SCHEMA", "-", "internal") in declared
