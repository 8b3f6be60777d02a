"""From the file to a new data folder, which then takes the old one's place.

    DATA_DIR/restoring    a data folder of its own, with a server of its own, until its data are complete

So nothing touches the old data before the new ones are complete, and a damaged old folder can be replaced too.
"""

import asyncio
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wingmanmatch_server.backup.archive import Backup, BackupError, Description, reading
from wingmanmatch_server.backup.database import holds_tables, settle
from wingmanmatch_server.backup.programs import Programs
from wingmanmatch_server.backup.roles import for_new_cluster
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.embedded_data import holds_database
from wingmanmatch_server.drivers.embedded_process import wait_for_lock

_SIDE = "restoring"
_LONGEST_END = 10.0


def restore(path: Path, folder: Path, programs: Programs, postgres_major: int, *, replace: bool) -> Description:
    """Make the backup at `path` the database of the data folder `folder`, and return what the backup says of itself.

    A folder that holds tables is refused unless `replace`. On any failure, and when killed, the old data stay. Raises
    BackupError, EngineError, and DataDirectoryInUse while a server runs on the folder.
    """
    with reading(path, postgres_major) as backup:
        old = not replace and holds_database(folder)
        with EmbeddedEngines(folder, postgres=old, valkey=False) as engines:
            engines.wait()
            if old and asyncio.run(holds_tables(engines.postgres_dsn)):
                raise BackupError(f"{folder} already holds data: choose another DATA_DIR, or give --replace.")
            with _side(folder / _SIDE) as side:
                _fill(side, backup, path, programs)
                engines.replace_postgres(side / "postgres")
        return backup.description


@contextmanager
def _side(folder: Path) -> Iterator[Path]:
    """Yield the path of a data folder that is gone before and after."""
    _remove(folder)
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    # Where children outlive their parent, a killed restore may have left a server there.
    lock = wait_for_lock(folder / "postgres.lock", _LONGEST_END)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise BackupError(f"{folder} cannot be removed: {error.strerror}.") from error
    finally:
        os.close(lock)


def _fill(side: Path, backup: Backup, path: Path, programs: Programs) -> None:
    with EmbeddedEngines(side, valkey=False) as engines:
        engines.wait()
        dsn = engines.postgres_dsn
        roles = io.BytesIO(for_new_cluster(backup.roles).encode())
        once = ("--single-transaction",)
        programs.feed("psql", dsn, "--no-psqlrc", "--quiet", *once, "--set=ON_ERROR_STOP=1", source=roles)
        programs.feed("pg_restore", dsn, "--exit-on-error", *once, source=backup.dump())
        if problem := asyncio.run(settle(dsn)):
            raise BackupError(f"{path} cannot be used by this version. {problem}")
