"""`wingmanmatch doctor` as a person and a pipeline meet it: the table, the exit code, and how long it takes."""

import asyncio
import time
from pathlib import Path

from support.apis import serving, silent, stalling
from support.databases import execute
from support.served import command
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate

KEY = "re_GoodKey_0123456789"
CLAUDE_KEY = "sk-ant-GoodKey-0123456789"
SECRET = "sb_secret_GoodKey_0123456789"
PUBLISHABLE = "sb_publishable_GoodKey_0123456789"


class Diagnosis:
    """What the command said, and its exit code."""

    def __init__(self, code: int, said: str) -> None:
        self.code = code
        self.said = said

    def of(self, subject: str) -> str:
        """Return the line of one subject and the advice below it."""
        lines = self.said.splitlines()
        at = next(number for number, line in enumerate(lines) if line[7:].startswith(subject))
        following = lines[at + 1] if lines[at + 1].lstrip().startswith("→") else ""
        return " ".join(f"{lines[at]} {following}".split())


async def diagnose(*options: str, **environment: str) -> Diagnosis:
    """Run the command; none of the values given may be in what it says, but for their first four characters."""
    with command("doctor", *options, **environment) as process:
        said, complaint = await asyncio.to_thread(process.communicate, timeout=60)
    assert complaint == ""
    for name, value in environment.items():
        if name.endswith("_KEY"):
            assert value[4:14] not in said
    return Diagnosis(process.returncode, said)


async def test_nothing_configured_is_nothing_wrong(tmp_path: Path) -> None:
    """A fresh clone, which starts its own engines, gets exit code 0 and reads what stands in for what."""
    diagnosis = await diagnose(DATA_DIR=str(tmp_path))
    assert diagnosis.code == 0
    assert diagnosis.of("Settings") == "ok Settings usable, for development"
    no_database = "no database in DATA_DIR yet: the first start creates it"
    assert diagnosis.of("  data folder") == f"unset data folder {no_database}"
    assert diagnosis.of("Redis") == "unset Redis no REDIS_URL: the server starts its own Valkey"
    assert diagnosis.said.endswith("Nothing to put right.\n")


async def test_wrong_settings_are_listed_and_the_rest_is_checked_all_the_same() -> None:
    """Every problem of the settings is a line, and does not keep the other checks from running."""
    diagnosis = await diagnose(ENVIRONMENT="production", DRAIN_DELAY="soon", DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert diagnosis.code == 1
    for name in ("DRAIN_DELAY", "ANTHROPIC_API_KEY", "SUPABASE_URL", "SUPABASE_SERVICE_KEY", "SUPABASE_ANON_KEY"):
        assert f"FAIL   Settings              {name} " in diagnosis.said
    assert diagnosis.of("PostgreSQL").startswith("FAIL PostgreSQL cannot be reached")


async def test_unencrypted_production_is_noted() -> None:
    """Whoever runs a server without TLS in production reads that only a proxy may reach it."""
    production = {
        "ENVIRONMENT": "production",
        "SUPABASE_URL": "https://127.0.0.1:1",
        "SUPABASE_SERVICE_KEY": SECRET,
        "SUPABASE_ANON_KEY": PUBLISHABLE,
        "ANTHROPIC_API_KEY": CLAUDE_KEY,
        "SIGNING_SECRET": "s" * 32,
    }
    address = ("--anthropic-url", "http://127.0.0.1:1")
    proxied = await diagnose(*address, **production, GRPC_LISTEN="0.0.0.0:50051", INSECURE_BEHIND_PROXY="true")
    encrypted = await diagnose(*address, **production, TLS_CERT_FILE="cert.pem", TLS_KEY_FILE="key.pem")
    refused = await diagnose(*address, **production, GRPC_LISTEN="0.0.0.0:50051")
    assert proxied.of("Settings") == "ok Settings usable, for production"
    assert proxied.of("  encryption").startswith(
        "note encryption calls are taken unencrypted, on GRPC_LISTEN → See that"
    )
    assert encrypted.of("  encryption") == "ok encryption calls are taken by TLS"
    assert refused.of("Settings").startswith("FAIL Settings GRPC_LISTEN must be a loopback address in production")


async def test_real_engines_are_well(fresh_database_dsn: str, engines: EmbeddedEngines) -> None:
    """A migrated PostgreSQL and a durable Valkey pass, each with what matters of it."""
    diagnosis = await diagnose(DATABASE_URL=fresh_database_dsn, REDIS_URL=engines.redis_url)
    assert diagnosis.code == 0, diagnosis.said
    assert diagnosis.of("PostgreSQL").startswith("ok PostgreSQL version 18")
    assert diagnosis.of("  role") == "ok role postgres, who may act as service_role"
    assert "applied" in diagnosis.of("  migrations")
    assert diagnosis.of("  extensions").startswith("ok")
    assert diagnosis.of("Redis").startswith("ok Redis Valkey")
    assert diagnosis.of("  eviction") == "ok eviction noeviction"
    assert diagnosis.of("  persistence") == "ok persistence append-only file"


async def test_stalls_cost_three_seconds_together() -> None:
    """Servers that never answer are named, and waited for at the same time."""
    async with (
        silent() as silence,
        serving("GET", "/domains", stalling) as resend,
        serving("GET", "/v1/models", stalling) as claude,
        serving("POST", "/rest/v1/rpc/health", stalling) as supabase,
    ):
        started = time.monotonic()
        diagnosis = await diagnose(
            *("--resend-url", resend, "--anthropic-url", claude),
            DATABASE_URL=f"postgresql://ann@{silence}/postgres",
            REDIS_URL=f"redis://{silence}/0",
            RESEND_API_KEY=KEY,
            ANTHROPIC_API_KEY=CLAUDE_KEY,
            SUPABASE_URL=supabase,
            SUPABASE_SERVICE_KEY=SECRET,
            SUPABASE_ANON_KEY=PUBLISHABLE,
        )
        seconds = time.monotonic() - started
    for subject in ("PostgreSQL", "Redis", "Resend", "Claude", "Supabase service key", "Supabase anon key"):
        assert diagnosis.of(subject).startswith(f"FAIL {subject} no answer within 3 seconds")
    assert seconds < 6 * 3


async def test_data_folder_of_another_postgresql_fails(tmp_path: Path) -> None:
    """A folder on which `serve` would refuse to start is found, with what to do about it."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("17\n")
    diagnosis = await diagnose(DATA_DIR=str(tmp_path))
    assert diagnosis.code == 1
    assert diagnosis.of("  data folder").startswith("FAIL data folder cannot be used by this version → ")
    assert "holds PostgreSQL 17, this version of WingmanMatch brings PostgreSQL 18" in diagnosis.of("  data folder")
    (tmp_path / "postgres" / "PG_VERSION").unlink()
    assert "it has no file PG_VERSION" in (await diagnose(DATA_DIR=str(tmp_path))).of("  data folder")


async def test_data_folder_that_cannot_be_read_is_said_not_to_be_looked_at(tmp_path: Path) -> None:
    """A file PG_VERSION that the system does not let be read, and a restore that was killed, are notes."""
    unread = "note data folder the embedded database in DATA_DIR was not looked at: "
    (tmp_path / "a" / "postgres.replaced").mkdir(parents=True)
    (tmp_path / "b" / "postgres" / "PG_VERSION").mkdir(parents=True)
    for name, reason in (("a", "a restore was interrupted → "), ("b", "Is a directory → ")):
        diagnosis = await diagnose(DATA_DIR=str(tmp_path / name))
        assert diagnosis.code == 0
        assert diagnosis.of("  data folder").startswith(unread + reason)


async def test_embedded_database_is_looked_at_while_it_runs(tmp_path: Path) -> None:
    """Its migrations are read while a server runs on the folder; otherwise the report says that they were not."""
    stopped = "note data folder of PostgreSQL 18; no server answers there: its migrations were not looked at → "
    with EmbeddedEngines(tmp_path, valkey=False) as engines:
        engines.wait()
        empty = await diagnose(DATA_DIR=str(tmp_path))
        await migrate(engines.postgres_dsn, read_migrations(), baseline=True)
        migrated = await diagnose(DATA_DIR=str(tmp_path))
        await execute(
            engines.postgres_dsn, "insert into supabase_migrations.schema_migrations values ('20990101000000')"
        )
        newer = await diagnose(DATA_DIR=str(tmp_path))
        left_by_a_kill = (tmp_path / "postgres" / "postmaster.pid").read_text()
    assert empty.of("  data folder") == "ok data folder of PostgreSQL 18, running"
    assert empty.of("  migrations").startswith("note migrations ")
    assert "are missing → `serve` applies them as it starts" in empty.of("  migrations")
    assert migrated.of("  migrations").startswith("ok migrations all ")
    assert newer.of("  migrations").startswith("FAIL migrations the database is not this version's")
    assert [each.code for each in (empty, migrated, newer)] == [0, 0, 1]
    for _ in range(2):
        diagnosis = await diagnose(DATA_DIR=str(tmp_path))
        assert (diagnosis.code, diagnosis.of("  data folder")[: len(stopped)]) == (0, stopped)
        (tmp_path / "postgres" / "postmaster.pid").write_text(left_by_a_kill)


async def test_embedded_database_is_not_looked_at_where_another_is_used(tmp_path: Path) -> None:
    """With the address of another database the folder does not matter."""
    (tmp_path / "postgres").mkdir()
    for variables in ({"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, {"SUPABASE_URL": "http://127.0.0.1:1"}):
        assert "data folder" not in (await diagnose(DATA_DIR=str(tmp_path), **variables)).said
