"""`wingmanmatch migrate`: what it says and which exit code a pipeline gets."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.databases import execute
from support.envoy import free_ports
from support.installations import empty_database
from support.served import command, refusal, served
from wingmanmatch.challenge.v1 import challenge_service_pb2_grpc
from wingmanmatch.challenge.v1.challenge_service_pb2 import ListChallengesRequest
from wingmanmatch.matching.v1 import matching_service_pb2_grpc
from wingmanmatch.matching.v1.matching_service_pb2 import GetProfileRequest
from wingmanmatch_server.drivers.migration_files import read_migrations

FILES = [migration.file for migration in read_migrations()]
NEWEST = FILES[-1][:14]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


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


def test_data_folder_is_not_needed_for_another_database(dsn: str) -> None:
    """With DATABASE_URL nothing is read or written below DATA_DIR, so that a job needs no disk."""
    assert run(DATABASE_URL=dsn, DATA_DIR="/proc/nothing")[0] == 0


def test_embedded_database_is_migrated(tmp_path: Path) -> None:
    """Without DATABASE_URL it is the database below DATA_DIR, and no Valkey is started for it."""
    assert run(DATA_DIR=str(tmp_path))[0] == 0
    assert run("--status", DATA_DIR=str(tmp_path))[0] == 0
    assert not (tmp_path / "valkey").exists()


async def test_drift_is_refused_by_all_commands(dsn: str) -> None:
    """After somebody changed what was applied, `migrate`, `migrate --status` and `serve` say which file it is."""
    run(DATABASE_URL=dsn)
    await execute(
        dsn, "update supabase_migrations.schema_migrations set statements = '{select 1}' where name = 'baseline'"
    )
    sentence = f"{FILES[0]} is not what was applied to this database"
    assert sentence in refusal("migrate", DATABASE_URL=dsn)
    code, said = run("--status", DATABASE_URL=dsn)
    assert (code, said[0]) == (1, f"changed  {FILES[0]}")
    assert sentence in said[-1]


PORTS = {"GRPC_LISTEN": "127.0.0.1:0", "HTTP_LISTEN": "127.0.0.1:0", "ADMIN_LISTEN": "127.0.0.1:0"}


async def apply_later_migration(dsn: str, oldest_server: str) -> None:
    """Record a migration of a later version, as either tool would have."""
    await execute(
        dsn,
        "insert into supabase_migrations.schema_migrations (version, name, statements) values"
        f" ('20990101000000', 'x', array['-- oldest-server: {oldest_server}\nselect 1'])",
    )


async def test_server_starts_on_a_newer_schema_that_allows_it(dsn: str, tmp_path: Path) -> None:
    """A version may go on, and be started again, after a later one has migrated: rolling back is starting it."""
    run(DATABASE_URL=dsn)
    await apply_later_migration(dsn, NEWEST)
    with served(tmp_path, DATABASE_URL=dsn):
        pass
    code, said = run("--status", DATABASE_URL=dsn)
    assert (code, said[-1]) == (0, "The database is newer than this version, which works on it.")


def test_works_beside_the_running_server(tmp_path: Path) -> None:
    """A data folder that a server holds is reached through the server's own PostgreSQL, also to seed."""
    data = {"DATA_DIR": str(tmp_path)}
    with served(tmp_path):
        assert run("--status", **data) == (0, [*told("applied"), "The database is current."])
        assert run(**data) == (0, ["The database is current."])
        with command("seed", "--profiles", "10", **data) as process:
            said, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
        assert said.startswith("10 people are settled")


async def test_postgrest_is_told_of_the_schema(dsn: str) -> None:
    """A PostgREST on the database reads the schema again once migrations are applied, and not where none were."""
    told: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(dsn)
    await listener.add_listener("pgrst", lambda *notification: told.put_nowait(notification[-1]))
    await asyncio.to_thread(run, DATABASE_URL=dsn)
    assert await asyncio.wait_for(told.get(), 10) == "reload schema"
    await asyncio.to_thread(run, DATABASE_URL=dsn)
    await listener.execute("notify pgrst, 'the end of the test'")
    assert await asyncio.wait_for(told.get(), 10) == "the end of the test"
    await listener.close()


async def test_server_refuses_a_newer_schema_that_excludes_it(dsn: str, tmp_path: Path) -> None:
    """A server that a later migration excludes does not start, and says so in one sentence."""
    run(DATABASE_URL=dsn)
    await apply_later_migration(dsn, "20990101000000")
    for name in ("serve", "migrate"):
        said = refusal(name, DATABASE_URL=dsn, DATA_DIR=str(tmp_path), **PORTS)
        assert "The database is too new for this version: migration 20990101000000 needs" in said


async def test_server_that_may_not_migrate_refuses_an_older_schema(dsn: str, tmp_path: Path) -> None:
    """With MIGRATE_ON_START=false nothing is applied at start, and the sentence names what is missing."""
    said = refusal("serve", DATABASE_URL=dsn, DATA_DIR=str(tmp_path), MIGRATE_ON_START="false", **PORTS)
    assert f"lacks migration {FILES[0][:14]}" in said
    assert run("--status", DATABASE_URL=dsn)[1][0] == f"missing  {FILES[0]}"


async def test_job_migrates_as_the_owner_and_servers_run_as_a_lesser_role(
    dsn: str, admin_dsn: str, tmp_path: Path
) -> None:
    """The owner's address is the job's alone: a role that may act as the service role is enough to serve."""
    role = f"server_{dsn.partition('?')[0].rpartition('_')[2]}"
    assert run(DATABASE_URL=dsn)[0] == 0
    await execute(admin_dsn, f"create role {role} login in role anon, service_role")
    try:
        with served(tmp_path, DATABASE_URL=dsn.replace("postgres@", f"{role}@", 1)) as server:
            async with grpc.aio.insecure_channel(server.grpc) as channel:
                stub = challenge_service_pb2_grpc.ChallengeServiceStub(channel)
                assert (await stub.ListChallenges(ListChallengesRequest())).challenges
    finally:
        await execute(admin_dsn, f"drop role {role}")


async def test_health_is_answered_while_migrations_wait(dsn: str, tmp_path: Path) -> None:
    """A server that waits for a lock is alive and not ready, refuses calls for now, and serves once it is through."""
    run(DATABASE_URL=dsn)
    await execute(dsn, "delete from public.approach_challenges")
    await execute(dsn, "delete from supabase_migrations.schema_migrations where name = 'fill_challenges'")
    port, admin = free_ports(2)
    holder = await asyncpg.connect(dsn)
    await holder.execute("begin; lock table public.approach_challenges")
    environment = {"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path)} | PORTS
    environment |= {"GRPC_LISTEN": f"127.0.0.1:{port}", "ADMIN_LISTEN": f"127.0.0.1:{admin}"}
    log = tmp_path / "said"
    with log.open("w") as output, command("serve", log=output, **environment) as process:
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                health = health_pb2_grpc.HealthStub(channel)
                assert await status(health, "liveness") == SERVING
                assert await status(health, "readiness") == NOT_SERVING
                paths = ("livez", "readyz", "healthz", "metrics")
                assert [await probe(admin, path) for path in paths] == [200, 503, 503, 503]
                with pytest.raises(grpc.aio.AioRpcError, match="waits for its database's migrations"):
                    await matching_service_pb2_grpc.MatchingServiceStub(channel).GetProfile(GetProfileRequest())
                async with asyncio.timeout(60):
                    while "migration_waiting_for_lock" not in log.read_text():
                        await asyncio.sleep(0.1)
                await holder.execute("rollback")
                async with asyncio.timeout(60):
                    while await status(health, "readiness") != SERVING:
                        await asyncio.sleep(0.1)
                    while await probe(admin, "readyz") != 200:
                        await asyncio.sleep(0.1)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=60)
    await holder.close()
    assert log.read_text().count("migration_waiting_for_lock") == 1


async def probe(port: int, path: str) -> int:
    """Return the status by which a probe is answered, 0 if nothing answers."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/{path}") as answer:
            return answer.status
    except aiohttp.ClientConnectorError:
        return 0


async def status(health: health_pb2_grpc.HealthStub, service: str) -> int:
    """Return the health of one name, as soon as something answers."""
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await health.Check(request, wait_for_ready=True, timeout=60)
    return int(answer.status)


def test_unreachable_database_is_a_sentence_without_the_password() -> None:
    """An address at which nothing answers ends the command, and its password is not shown."""
    said = refusal("migrate", DATABASE_URL="postgresql://ann:correct-horse@127.0.0.1:1/postgres")
    assert "DATABASE_URL cannot be used" in said
    assert "horse" not in said
