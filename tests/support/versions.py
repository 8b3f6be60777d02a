"""The previous version and this one as two replicas behind Envoy, on one database and one Redis."""

import json
import shutil
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support.databases import execute, with_database
from support.envoy import free_ports, running_envoy
from support.previous import PROGRAM, PreviousVersion
from support.protos import REPOSITORY
from support.replicas import Replica
from support.served import INSTALLED
from wingmanmatch_server.drivers.migration_files import Migration, read_migrations
from wingmanmatch_server.drivers.migrations import migrate

MIGRATIONS = REPOSITORY / "supabase" / "migrations"
LATER = "99991231235959_add_nickname.sql"
LATER_SQL = "-- oldest-server: {oldest}\n\nalter table public.user_profiles add column nickname text;\n"
LIMITS = """
[policies.shared]
capacity = {capacity}
refill_per_second = {refill}
outage = "deny"
"""
CAPACITY, REFILL = 60, 2.0  # of the policy `shared`
# People call more often than limits allow; the limits are in force all the same, so both versions charge each call.
ROOMY = ("public_api", "match_request", "email_send", "challenge_submit")
SETTINGS = {
    "DRAIN_DELAY": "2",
    "LOG_FORMAT": "json",
    "MAX_DAILY_MATCHES": "1000",
    "MAIL_FROM": "WingmanMatch <hello@notify.example.org>",
}


class Transcript:
    """What happened, each line with the seconds since the beginning."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._start = time.monotonic()

    def note(self, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{time.monotonic() - self._start:7.2f} s  {text}")


class Version(Replica):
    """A replica of one version, at a port and with a folder, which notes when it starts and stops."""

    def __init__(
        self, name: str, place: tuple[int, Path], settings: Mapping[str, str], program: Sequence[str], said: Transcript
    ) -> None:
        port, folder = place
        super().__init__(port, folder, settings, program)
        self.name = name
        self.transcript = said
        self._log = folder / "said"

    async def start(self) -> None:
        """Start it and return once it answers."""
        self.transcript.note(f"{self.name} is started")
        try:
            await super().start()
        except AssertionError as error:
            last = self._log.read_text("utf-8").splitlines()[-1:]
            raise AssertionError(f"the {self.name} version did not start: {last}") from error
        self.transcript.note(f"{self.name} answers")

    async def stop(self) -> None:
        """Send SIGTERM, wait for its end, and fail unless it ended in order."""
        self.transcript.note(f"{self.name} gets SIGTERM")
        assert await self.terminate() == 0
        self.transcript.note(f"{self.name} has ended")

    async def restart(self) -> None:
        """Stop it in order and start it again."""
        await self.stop()
        await self.start()

    @property
    def address(self) -> str:
        """Where it answers without the load balancer."""
        assert self.served
        return self.served.grpc

    def calls(self) -> Counter[tuple[str, str]]:
        """Return how often it answered each RPC of ours with each code, by its access log."""
        lines = [json.loads(line) for line in self._log.read_text("utf-8").splitlines() if line.startswith("{")]
        calls = [line for line in lines if line["event"] == "rpc" and "wingmanmatch." in line["method"]]
        return Counter((line["method"].rpartition("/")[2], line["code"]) for line in calls)


@dataclass
class Pair:
    """Both versions, running, and the port of Envoy before them. `later` is the schema of a version after both."""

    older: Version
    newer: Version
    port: int
    dsn: str
    redis_url: str
    later: Sequence[Migration]
    transcript: Transcript

    async def migrate_to_later(self) -> list[str]:
        """Migrate as a job of the version after both would; return the files that were applied."""
        applied = [migration.file for migration in await migrate(self.dsn, self.later, baseline=True)]
        for file in applied:
            self.transcript.note(f"applied {file}")
        return applied


@asynccontextmanager
async def both_versions(
    previous: PreviousVersion, admin_dsn: str, redis_url: str, folder: Path, settings: Mapping[str, str]
) -> AsyncIterator[Pair]:
    """Yield both versions, the older started first, on a database that each migrates as it starts."""
    envoy, *ports = free_ports(3)
    transcript = Transcript()
    async with _empty_database(admin_dsn) as dsn:
        shared = SETTINGS | settings | {"DATABASE_URL": dsn, "REDIS_URL": redis_url}
        shared["RATE_LIMITS_FILE"] = str(_limits(folder))
        places = [(port, _folder(folder / str(port))) for port in ports]
        older = Version("older", places[0], shared | previous.environment, PROGRAM, transcript)
        newer = Version("newer", places[1], shared, INSTALLED, transcript)
        try:
            await older.start()
            await newer.start()
            shipped = {10001: envoy, 50051: ports[0], 50052: ports[1]}
            async with running_envoy("load_balancer.yaml", shipped, envoy, folder):
                later = read_migrations(later_migrations(previous, folder / "later"))
                yield Pair(older, newer, envoy, dsn, redis_url, later, transcript)
        finally:
            older.kill()
            newer.kill()


def later_migrations(previous: PreviousVersion, folder: Path) -> Path:
    """Make `folder` hold this version's migrations and one that no version has, which both work with; return it."""
    shutil.copytree(MIGRATIONS, folder)
    (folder / LATER).write_text(LATER_SQL.format(oldest=read_migrations(previous.migrations)[-1].version), "utf-8")
    return folder


@asynccontextmanager
async def _empty_database(admin_dsn: str) -> AsyncIterator[str]:
    name = f"versions_{uuid.uuid4().hex}"
    await execute(admin_dsn, f"create database {name}")
    try:
        yield with_database(admin_dsn, name)
    finally:
        await execute(admin_dsn, f"drop database {name} with (force)")


def _limits(folder: Path) -> Path:
    file = folder / "rate-limits.toml"
    roomy = "".join(f"[policies.{name}]\ncapacity = 100_000\n" for name in ROOMY)
    file.write_text(roomy + LIMITS.format(capacity=CAPACITY, refill=REFILL), "utf-8")
    return file


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
