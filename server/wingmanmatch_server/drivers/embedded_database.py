"""The database of a data folder, for commands: that of the server which runs on the folder, or started for them."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from wingmanmatch_server.drivers.embedded import DataDirectoryInUse, EmbeddedEngines, EngineError
from wingmanmatch_server.drivers.embedded_postgres import running_dsn
from wingmanmatch_server.drivers.postgres import AWAY

_POLL_INTERVAL = 0.1
_LONGEST_START = 30.0


@contextmanager
def running_or_started(data_directory: Path) -> Iterator[str]:
    """Yield the superuser's address of the database of a data folder.

    It is that of the server that runs on the folder, or else PostgreSQL is started for as long as the block takes.
    Raises EngineError.
    """
    engines = EmbeddedEngines(data_directory, valkey=False)
    try:
        engines.start()
    except DataDirectoryInUse as in_use:
        yield _running(data_directory, in_use)
        return
    with engines_stopped(engines):
        engines.wait()
        yield engines.postgres_dsn


@contextmanager
def engines_stopped(engines: EmbeddedEngines) -> Iterator[None]:
    """Stop started engines at the end of the block."""
    try:
        yield
    finally:
        engines.stop()


def _running(data_directory: Path, in_use: DataDirectoryInUse) -> str:
    """Return the address of the running server's database once it answers."""
    deadline = time.monotonic() + _LONGEST_START
    while time.monotonic() < deadline:
        dsn = running_dsn(data_directory)
        if dsn and asyncio.run(_answers(dsn)):
            return dsn
        time.sleep(_POLL_INTERVAL)
    raise EngineError(f"Process {in_use.pid or '(unknown)'} uses {data_directory}, but no PostgreSQL answers there.")


async def _answers(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn)
    except (asyncpg.PostgresError, *AWAY):
        return False
    await connection.close()
    return True
