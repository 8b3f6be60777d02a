"""`wingmanmatch migrate`: what it says and which exit code a pipeline gets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.databases import execute
from support.installations import empty_database
from support.served import command, refusal
from wingmanmatch_server.drivers.migration_files import read_migrations

FILES = [migration.file for migration in read_migrations()]


@pytest.fixture
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """An empty database, as DATABASE_URL."""
    async with empty_database(admin_dsn) as dsn:
        yield dsn


def run(*options: str, **environment: str) -> tuple[int, list[str]]:
    """Run the command; return the exit code and what it said, line by line."""
    with command("migrate", *options, **environment) as process:
        output, complaint = process.communicate(timeout=60)
    assert complaint == ""
    return process.returncode, output.splitlines()


def told(state: str) -> list[str]:
    """Return the lines of all migrations in one state."""
    return [f"{state}  {file}" for file in FILES]


def test_migrates_and_tells(dsn: str) -> None:
    """A pipeline sees what is missing, tries it, applies it, and then has nothing left to do."""
    missing = [*told("missing"), f"{len(FILES)} missing: run `wingmanmatch migrate`."]
    assert run("--status", DATABASE_URL=dsn) == (1, missing)
    assert run("--dry-run", DATABASE_URL=dsn) == (0, [*told("would apply"), f"{len(FILES)} tried and undone."])
    assert run("--status", DATABASE_URL=dsn) == (1, missing)
    assert run(DATABASE_URL=dsn) == (0, [*told("applied"), f"{len(FILES)} applied."])
    assert run("--status", DATABASE_URL=dsn) == (0, [*told("applied"), "The database is current."])
    assert run(DATABASE_URL=dsn) == (0, ["The database is current."])


def test_embedded_database_is_migrated(tmp_path: Path) -> None:
    """Without DATABASE_URL it is the database below DATA_DIR, and no Valkey is started for it."""
    assert run(DATA_DIR=str(tmp_path))[0] == 0
    assert run("--status", DATA_DIR=str(tmp_path))[0] == 0
    assert not (tmp_path / "valkey").exists()


async def test_drift_is_refused_by_all_commands(dsn: str) -> None:
    """After somebody changed what was applied, `migrate`, `migrate --status` and `serve` say which file it is."""
    run(DATABASE_URL=dsn)
    await execute(
        dsn, "update supabase_migrations.schema_migrations set statements = '{select 1}' where name ~ 'found'"
    )
    sentence = f"{FILES[0]} is not what was applied to this database"
    assert sentence in refusal("migrate", DATABASE_URL=dsn)
    code, said = run("--status", DATABASE_URL=dsn)
    assert (code, said[0]) == (1, f"changed  {FILES[0]}")
    assert sentence in said[-1]


async def test_server_refuses_a_database_ahead_of_it(dsn: str, tmp_path: Path) -> None:
    """A server that is older than the schema does not start on it, and says so in one sentence."""
    run(DATABASE_URL=dsn)
    await execute(dsn, "insert into supabase_migrations.schema_migrations (version) values ('20990101000000')")
    for name in ("serve", "migrate"):
        assert "does not know its migration 20990101000000" in refusal(
            name, DATABASE_URL=dsn, DATA_DIR=str(tmp_path), GRPC_LISTEN="127.0.0.1:0", HTTP_LISTEN="127.0.0.1:0"
        )


def test_unreachable_database_is_a_sentence_without_the_password() -> None:
    """An address at which nothing answers ends the command, and its password is not shown."""
    said = refusal("migrate", DATABASE_URL="postgresql://ann:correct-horse@127.0.0.1:1/postgres")
    assert "DATABASE_URL cannot be used" in said
    assert "horse" not in said
