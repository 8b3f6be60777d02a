"""`wingmanmatch backup` and `wingmanmatch restore`, as a person runs them."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.backups import changed, fetch, roles, rows, run, schema, started
from support.databases import execute
from support.installations import empty_database, initialise, programs, running_on, supabase_database
from support.served import BIN, command, refusal, served
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_client import Client, connect
from wingmanmatch_server.drivers.embedded import postgres_programs
from wingmanmatch_server.drivers.embedded_postgres import running_dsn
from wingmanmatch_server.drivers.embedded_process import engine_account, own_folder, wait_for_lock
from wingmanmatch_server.drivers.schema_version import BASELINE

ROLES = """
create role analyst login password 'correct-horse' connection limit 3;
alter role analyst set statement_timeout = '7s';
create role "Reading Team";
grant anon to "Reading Team" with admin option;
grant "Reading Team" to analyst with inherit false;
grant select on public.user_profiles to "Reading Team";
comment on table public.user_profiles is 'Everybody''s own words';
"""
FOREIGN = """
create table t (value int);
create schema supabase_migrations;
create table supabase_migrations.schema_migrations (version text primary key);
"""
OLD_PROGRAMS = next((found for found in map(programs, (17, 16, 15)) if found), None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which people have met, with roles of an operator's own; no server runs on it."""
    folder = tmp_path_factory.mktemp("data")
    run("seed", "--profiles", "300", DATA_DIR=str(folder))
    with started(folder) as dsn:
        asyncio.run(execute(dsn, ROLES))
    with served(folder) as server:
        run("demo", "--target", server.grpc, DATA_DIR=str(folder))
    return folder


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    file = tmp_path_factory.mktemp("made") / "all.backup"
    run("backup", file, DATA_DIR=str(data))
    return file


async def join(client: Client) -> str:
    """Create a profile and return the person's id."""
    user_id = str(uuid.uuid4())
    profile = matching_pb2.Profile(
        user_id=user_id,
        email=f"{user_id}@example.org",
        first_name="Ada",
        experience_level=matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
        confidence_archetype=matching_pb2.CONFIDENCE_ARCHETYPE_SCHOLAR,
        location={"latitude": 48.2, "longitude": 16.37},
    )
    await client.matching.upsert_profile(profile=profile)
    return user_id


async def join_for_ever(client: Client, joined: list[str]) -> None:
    """Create one profile after the other."""
    while True:
        joined.append(await join(client))


async def people_of(dsn: str | None) -> set[str]:
    """Return the ids of all people who can be matched."""
    assert dsn
    return set(await fetch(dsn, "select array_agg(user_id::text) from match_pool"))


async def serves(data_dir: Path) -> int:
    """Start a server on a folder, read some of its people through it, and return how many there are."""
    with served(data_dir, ENABLE_RATE_LIMITING="false") as server:
        people = await people_of(running_dsn(data_dir))
        async with connect(server.grpc) as client:
            for user_id in sorted(people)[:20]:
                assert (await client.matching.get_profile(user_id=user_id)).profile.user_id == user_id
    return len(people)


async def test_everything_is_restored(data: Path, tmp_path: Path) -> None:
    """Rows, schema, owners, grants, comments, roles and memberships are the same; passwords of roles are left out."""
    run("backup", tmp_path / "file", DATA_DIR=str(data))
    assert run("restore", tmp_path / "file", DATA_DIR=str(tmp_path / "new")).startswith("The database of ")
    with started(data) as before, started(tmp_path / "new") as after:
        expected = await rows(before)
        assert len(expected) > 10
        assert sum(map(len, expected.values())) > 1000
        assert await rows(after) == expected
        assert schema(after) == schema(before)
        assert "Everybody" in schema(after)
        assert " PASSWORD 'SCRAM" in roles(before)
        assert roles(after) == without_passwords(roles(before))
        assert await fetch(after, "select rolpassword is null from pg_authid where rolname = 'analyst'")
    assert run("migrate", "--status", DATA_DIR=str(tmp_path / "new")).endswith("The database is current.\n")
    assert await serves(tmp_path / "new") > 300
    assert not (tmp_path / "new" / "restoring").exists()


def without_passwords(sql: str) -> str:
    """Return the SQL of roles without what follows PASSWORD."""
    return re.sub(r" PASSWORD '[^']*'", "", sql)


async def test_backup_of_a_running_server_is_of_one_instant(tmp_path: Path) -> None:
    """Under writes no call fails; what was acknowledged before is in the backup, and no transaction in part."""
    joined: list[str] = []
    log = (tmp_path / "log").open("w")
    with log, served(tmp_path / "old", log=log, ENABLE_RATE_LIMITING="false") as server:
        async with connect(server.grpc) as client:
            writers = [asyncio.create_task(join_for_ever(client, joined)) for _ in range(3)]
            while len(joined) < 100:
                await asyncio.sleep(0.01)
            acknowledged = set(joined)
            said = await asyncio.to_thread(run, "backup", tmp_path / "file", DATA_DIR=str(tmp_path / "old"))
            meanwhile = len(joined) - len(acknowledged)
            ended = [writer.done() for writer in writers]
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
    assert "file holds the database" in said
    assert (ended, meanwhile > 10) == ([False] * 3, True)
    run("restore", tmp_path / "file", DATA_DIR=str(tmp_path / "new"))
    with started(tmp_path / "new") as dsn:
        people = await people_of(dsn)
        # Another table, which the same transaction writes.
        assert people == set(await fetch(dsn, "select array_agg(id::text) from user_profiles"))
    assert acknowledged <= people <= set(joined)


def test_file_is_its_owners_and_is_not_overwritten(data: Path, made: Path, tmp_path: Path) -> None:
    """Nobody else may read it. One that exists is refused, unless --force replaces it."""
    file = tmp_path / "file"
    file.write_text("precious")
    assert f"{file} exists: choose another name, or replace it with --force" in refusal(
        "backup", str(file), DATA_DIR=str(data)
    )
    assert file.read_text() == "precious"
    run("backup", file, "--force", DATA_DIR=str(data))
    assert file.stat().st_mode & 0o777 == made.stat().st_mode & 0o777 == 0o600
    run("restore", file, DATA_DIR=str(tmp_path / "new"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "new"]


@pytest.mark.parametrize("force", [False, True])
def test_full_disk(data: Path, tmp_path: Path, *, force: bool) -> None:
    """A backup that cannot be written to its end says so and leaves nothing; one that it was to replace stays."""
    file = tmp_path / "file"
    if force:
        file.write_text("precious")
    # The size that the system allows a file to have ends as the space of a disk does: inside a write.
    words = [BIN / "wingmanmatch", "backup", file, *(["--force"] if force else [])]
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(data)}
    with served(data):
        limited = ["sh", "-c", 'ulimit -f 32 && exec "$@"', "sh", *words]
        result = subprocess.run(limited, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"{file} cannot be written: File too large." in result.stderr
    assert "Traceback" not in result.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "precious")] * force


@pytest.mark.parametrize(
    ("place", "reason"), [("missing/file", "No such file or directory"), ("file/inside", "Not a directory")]
)
def test_target_that_cannot_be_written(data: Path, tmp_path: Path, place: str, reason: str) -> None:
    """The sentence names the file and the system's reason."""
    (tmp_path / "file").touch()
    assert f"{tmp_path / place} cannot be written: {reason}." in refusal(
        "backup", str(tmp_path / place), DATA_DIR=str(data)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_to_back_up(tmp_path: Path) -> None:
    """A folder without a database is not given one."""
    said = refusal("backup", str(tmp_path / "file"), DATA_DIR=str(tmp_path / "data"))
    assert f"{tmp_path / 'data'} holds no database" in said
    assert not list(tmp_path.iterdir())


def test_terminated_backup_leaves_nothing(data: Path, tmp_path: Path) -> None:
    """SIGTERM while the dump waits for a table ends it, and no part of a file is left."""
    with started(data) as dsn:
        holder = [postgres_programs() / "psql", dsn, "-Xqc", "begin; lock table user_profiles; select pg_sleep(60)"]
        with subprocess.Popen(holder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as lock:
            process = command("backup", str(tmp_path / "file"), DATABASE_URL=dsn)
            try:
                wait_until(lambda: any(tmp_path.iterdir()))
                process.terminate()
                assert process.wait(10) == 128 + signal.SIGTERM
            finally:
                lock.kill()
                process.communicate()
    assert not list(tmp_path.iterdir())


async def test_failed_restore_leaves_the_old_data(made: Path, tmp_path: Path) -> None:
    """A dump that grants to a role that is missing ends in a sentence, and the old database is as it was."""
    run("restore", made, DATA_DIR=str(tmp_path / "data"))
    with started(tmp_path / "data") as dsn:
        await execute(dsn, "create table kept as select 7 as value")
    broken = changed(made, tmp_path / "broken", roles=b"")
    said = refusal("restore", str(broken), "--replace", DATA_DIR=str(tmp_path / "data"))
    assert "pg_restore failed: could not execute query: ERROR:  role " in said
    assert not (tmp_path / "data" / "restoring").exists()
    with started(tmp_path / "data") as dsn:
        assert await fetch(dsn, "select value from kept") == 7


async def test_killed_restore_leaves_the_old_data(made: Path, tmp_path: Path) -> None:
    """After a kill in its midst the old database is there, and the next restore replaces it."""
    run("restore", made, DATA_DIR=str(tmp_path / "data"))
    with started(tmp_path / "data") as dsn:
        await execute(dsn, "create table kept as select 7 as value")
    process = command("restore", str(made), "--replace", DATA_DIR=str(tmp_path / "data"))
    wait_until((tmp_path / "data" / "restoring" / "postgres" / "postmaster.pid").exists)
    process.kill()
    process.communicate()
    # A child that was just being forked has its parent's files until it becomes a program.
    os.close(wait_for_lock(tmp_path / "data" / "lock", 10))
    with started(tmp_path / "data") as dsn:
        assert await fetch(dsn, "select value from kept") == 7
    run("restore", made, "--replace", DATA_DIR=str(tmp_path / "data"))
    with started(tmp_path / "data") as dsn:
        assert await fetch(dsn, "select to_regclass('kept') is null")
    assert sorted(path.name for path in (tmp_path / "data").glob("*o*")) == sorted(
        ["lock", "log", "postgres", "postgres.lock"]
    )


async def test_damaged_database_is_replaced(made: Path, tmp_path: Path) -> None:
    """A folder on which PostgreSQL no longer starts is refused in its words, and --replace replaces it."""
    with started(tmp_path):
        pass
    (tmp_path / "postgres" / "global" / "pg_control").write_bytes(b"nonsense")
    assert "PostgreSQL stopped with status" in refusal("restore", str(made), DATA_DIR=str(tmp_path))
    run("restore", made, "--replace", DATA_DIR=str(tmp_path))
    with started(tmp_path) as dsn:
        assert len(await people_of(dsn)) > 300


def test_restore_refuses_a_folder_in_use_or_with_data(data: Path, made: Path) -> None:
    """While a server runs on the folder neither form restores; afterwards only --replace would."""
    with served(data) as server:
        for options in ((), ("--replace",)):
            said = refusal("restore", str(made), *options, DATA_DIR=str(data))
            assert f"{data} is in use by process {server.process.pid}: stop it" in said
    assert f"{data} already holds data" in refusal("restore", str(made), DATA_DIR=str(data))


def test_restore_into_a_database_without_tables(made: Path, tmp_path: Path) -> None:
    """A folder that PostgreSQL was only started on needs no --replace."""
    with started(tmp_path):
        pass
    run("restore", made, DATA_DIR=str(tmp_path))


def test_unusable_files(made: Path, tmp_path: Path) -> None:
    """Each kind has a sentence of its own, before anything is made in the folder."""
    content = made.read_bytes()
    files = {
        "cut": (content[:-1000], "is incomplete: its end is missing."),
        "flipped": (flipped(content), "is damaged: its checksums do not match."),
        "empty": (b"", "is not a file that `wingmanmatch backup` made."),
        "other": (b"PGDMP" + content, "is not a file that `wingmanmatch backup` made."),
    }
    for name, (bytes_of_it, sentence) in files.items():
        (tmp_path / name).write_bytes(bytes_of_it)
        said = refusal("restore", str(tmp_path / name), DATA_DIR=str(tmp_path / "data"))
        assert f"{tmp_path / name} {sentence}" in said
    said = refusal("restore", str(tmp_path / "missing"), DATA_DIR=str(tmp_path / "data"))
    assert f"{tmp_path / 'missing'} cannot be read: No such file or directory." in said
    assert not (tmp_path / "data").exists()


def flipped(content: bytes) -> bytes:
    """Return the bytes with one in the middle turned around."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def test_backup_of_a_newer_version(made: Path, tmp_path: Path) -> None:
    """One made with a newer PostgreSQL, or in a newer form, names the version that can restore it."""
    later = "7.1.0"
    described = {"postgres": 190001, "dumped_by": 19, "made": "2030-01-01T00:00", "format": 1}
    newer = json.dumps({"wingmanmatch": later} | described).encode()
    file = changed(made, tmp_path / "postgres", wingmanmatch_backup=newer)
    said = refusal("restore", str(file), DATA_DIR=str(tmp_path / "data"))
    assert "was made with PostgreSQL 19" in said
    assert f"restore it with WingmanMatch {later} or later" in said
    file = changed(made, tmp_path / "form", wingmanmatch_backup=newer.replace(b'"format": 1', b'"format": 2'))
    assert f"made by WingmanMatch {later}: restore it with that" in refusal(
        "restore", str(file), DATA_DIR=str(tmp_path)
    )


async def test_backup_with_migrations_of_a_newer_version(data: Path, tmp_path: Path) -> None:
    """A database that this version's server would refuse does not replace one that it serves."""
    shutil.copytree(data, tmp_path / "ahead", ignore=shutil.ignore_patterns("run", "sockets"))
    keep_owner(data / "postgres", tmp_path / "ahead" / "postgres")
    with started(tmp_path / "ahead") as dsn:
        await execute(dsn, "insert into supabase_migrations.schema_migrations (version) values ('20990101000000')")
    run("backup", tmp_path / "file", DATA_DIR=str(tmp_path / "ahead"))
    said = refusal("restore", str(tmp_path / "file"), DATA_DIR=str(tmp_path / "new"))
    assert "cannot be used by this version. The database has migration 20990101000000" in said
    assert not (tmp_path / "new" / "postgres").exists()


def keep_owner(original: Path, copy: Path) -> None:
    """Give all of a copied folder to the owner of the original."""
    owner = original.stat()
    for path in (copy, *copy.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


async def test_database_url_with_a_password(made: Path, tmp_path: Path) -> None:
    """The password of DATABASE_URL opens the database; a wrong one is refused, and neither is shown."""
    data = tmp_path / "data"
    run("restore", made, DATA_DIR=str(data))
    (data / "postgres" / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    with started(data) as dsn:
        await execute(dsn, "create role keeper superuser login password 'correct horse'")
        for password, works in (("correct%20horse", True), ("wrong", False)):
            file = tmp_path / password
            url = dsn.replace("postgres@", f"keeper:{password}@")
            with command("backup", str(file), DATABASE_URL=url) as process:
                said = "".join(process.communicate(timeout=60))
            assert (process.returncode == 0, file.exists()) == (works, works), said
            assert "Traceback" not in said
            assert password not in said.replace(str(file), "")
    run("restore", tmp_path / "correct%20horse", DATA_DIR=str(tmp_path / "new"))
    with started(tmp_path / "new") as dsn:
        assert await fetch(dsn, "select rolsuper from pg_roles where rolname = 'keeper'")


async def test_restore_by_hand(made: Path, tmp_path: Path) -> None:
    """The commands of docs/operations.md restore a backup into another server of PostgreSQL."""
    run_program(sys.executable, "-m", "zipfile", "-e", made, tmp_path / "folder")
    tools = postgres_programs()
    with started(tmp_path / "other") as dsn:
        await execute(dsn, "create database mine")
        mine = dsn.replace("/wingmanmatch?", "/mine?")
        run_program(tools / "psql", "-f", tmp_path / "folder" / "roles.sql", mine)
        dump = tmp_path / "folder" / "database.dump"
        run_program(tools / "pg_restore", "--single-transaction", "--exit-on-error", f"--dbname={mine}", dump)
        assert run("migrate", "--status", DATABASE_URL=mine).endswith("The database is current.\n")
        assert len(await people_of(mine)) > 300
        assert "GRANT " in roles(mine)


def run_program(*words: str | Path) -> None:
    """Run a program that must succeed."""
    subprocess.run(words, check=True, capture_output=True, timeout=60)


def test_restore_is_for_the_embedded_database(made: Path, tmp_path: Path) -> None:
    """With DATABASE_URL nothing is restored, neither there nor in DATA_DIR."""
    said = refusal("restore", str(made), DATABASE_URL="postgresql://127.0.0.1:1/x", DATA_DIR=str(tmp_path / "data"))
    assert "restore is for the embedded database" in said
    assert not (tmp_path / "data").exists()


async def test_database_that_is_not_ours(admin_dsn: str, tmp_path: Path) -> None:
    """Neither a database of something else nor one of Supabase is backed up; a transaction pooler cannot be used."""
    sentences = {
        admin_dsn.replace("/wingmanmatch?", "/postgres?"): "it has no history of migrations",
        admin_dsn + "&pooler=transaction": "is a transaction pooler",
        "postgresql://ann:correct-horse@127.0.0.1:1/postgres": "The database cannot be used",
    }
    for dsn, sentence in sentences.items():
        said = refusal("backup", str(tmp_path / "file"), DATABASE_URL=dsn)
        assert sentence in said
        assert "horse" not in said
    async with supabase_database(admin_dsn) as dsn:
        assert "is a Supabase project" in refusal("backup", str(tmp_path / "file"), DATABASE_URL=dsn)
    assert not list(tmp_path.iterdir())


@pytest.fixture
async def foreign_dsn(admin_dsn: str) -> AsyncIterator[str]:
    """The database of another application, which has the table of a history of migrations, and nothing in it."""
    async with empty_database(admin_dsn) as dsn:
        await execute(dsn, FOREIGN)
        yield dsn


async def test_database_of_another_application_is_not_backed_up(foreign_dsn: str, tmp_path: Path) -> None:
    """A history of migrations is not enough: WingmanMatch's first must be in it."""
    sentence = f"it has no history of migrations that includes {BASELINE}"
    assert sentence in refusal("backup", str(tmp_path / "file"), DATABASE_URL=foreign_dsn)
    await execute(foreign_dsn, "insert into supabase_migrations.schema_migrations values ('20990101000000')")
    assert sentence in refusal("backup", str(tmp_path / "file"), DATABASE_URL=foreign_dsn)
    await execute(foreign_dsn, "alter table supabase_migrations.schema_migrations rename version to name")
    assert sentence in refusal("backup", str(tmp_path / "file"), DATABASE_URL=foreign_dsn)
    assert not list(tmp_path.iterdir())


async def test_database_of_another_application_is_not_restored(foreign_dsn: str, made: Path, tmp_path: Path) -> None:
    """A backup file that holds one does not replace our data, even with --replace."""
    run("restore", made, DATA_DIR=str(tmp_path / "data"))
    with started(tmp_path / "data") as dsn:
        people = await people_of(dsn)
    dump = tmp_path / "dump"
    run_program(postgres_programs() / "pg_dump", "--format=custom", f"--file={dump}", foreign_dsn)
    file = changed(made, tmp_path / "foreign", database=dump.read_bytes())
    said = refusal("restore", str(file), "--replace", DATA_DIR=str(tmp_path / "data"))
    assert f"{file} cannot be used by this version. It holds no database of WingmanMatch" in said
    assert not (tmp_path / "data" / "restoring").exists()
    with started(tmp_path / "data") as dsn:
        assert await people_of(dsn) == people


async def test_database_of_an_owner_who_is_no_superuser(admin_dsn: str, tmp_path: Path) -> None:
    """Whoever may read all tables can make a backup, with all roles; who may not is told what is missing."""
    memberships = "in role anon, authenticated, service_role"
    await execute(admin_dsn, f"create role own_er login createrole bypassrls {memberships}; create role guest login")
    try:
        async with empty_database(admin_dsn, "own_er") as dsn:
            run("migrate", DATABASE_URL=dsn.replace("postgres@", "own_er@"))
            run("backup", tmp_path / "file", DATABASE_URL=dsn.replace("postgres@", "own_er@"))
            await execute(dsn, "grant usage on schema supabase_migrations to guest")
            said = refusal("backup", str(tmp_path / "other"), DATABASE_URL=dsn.replace("postgres@", "guest@"))
    finally:
        await execute(admin_dsn, "drop role own_er; drop role guest")
    assert "pg_dump failed" in said
    assert "permission denied" in said
    run("restore", tmp_path / "file", DATA_DIR=str(tmp_path / "new"))
    with started(tmp_path / "new") as dsn:
        owner = "select tableowner from pg_tables where tablename = 'match_pool'"
        assert await fetch(dsn, owner) == "own_er"
        assert await fetch(dsn, "select pg_has_role('own_er', 'service_role', 'member')")


def test_folder_of_a_newer_postgresql(tmp_path: Path) -> None:
    """A server that was rolled back says that it cannot read the folder, and what can be done."""
    own_folder(tmp_path / "postgres", engine_account())
    (tmp_path / "postgres" / "PG_VERSION").write_text("19\n")
    said = refusal("serve", DATA_DIR=str(tmp_path))
    assert f"{tmp_path / 'postgres'} holds PostgreSQL 19, this version of WingmanMatch brings PostgreSQL 18" in said
    assert "run the version that used it last" in said


@pytest.mark.skipif(OLD_PROGRAMS is None, reason="needs an older PostgreSQL")
async def test_folder_of_an_older_postgresql_is_moved(tmp_path: Path) -> None:
    """The way that the sentence names works: back up with the old server, move the folder away, restore, serve."""
    assert OLD_PROGRAMS
    with tempfile.TemporaryDirectory(prefix="old-") as folder:
        data = own_folder(Path(folder) / "data", engine_account())
        Path(folder).chmod(0o755)
        initialise(OLD_PROGRAMS, data / "postgres")
        for arguments in (("serve",), ("backup", str(tmp_path / "file"))):
            said = refusal(*arguments, DATA_DIR=str(data))
            assert f"{data / 'postgres'} holds PostgreSQL {OLD_PROGRAMS.parent.name}, this version" in said
            assert "`wingmanmatch backup FILE`), move the folder away, and run `wingmanmatch restore FILE`" in said
        with running_on(OLD_PROGRAMS, data / "postgres") as dsn:
            run("seed", "--profiles", "200", DATABASE_URL=dsn)
            run("backup", tmp_path / "file", DATABASE_URL=dsn)
            expected = await rows(dsn)
        assert "move the folder away" in refusal("restore", str(tmp_path / "file"), DATA_DIR=str(data))
        (data / "postgres").rename(data / "old")
        run("restore", tmp_path / "file", DATA_DIR=str(data))
        with started(data) as dsn:
            assert await rows(dsn) == expected
        assert await serves(data) == 200


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_help(name: str) -> None:
    """The help says what is written and what is not touched."""
    said = " ".join(run(name, "--help").replace("│", " ").split())
    assert ("not included" if name == "backup" else "stays as it was") in said


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once a file of another process is there."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
