"""The data folder of the embedded PostgreSQL: which version made it, and how another takes its place."""

import os
import shutil
from pathlib import Path

from wingmanmatch_server.drivers.embedded_process import EngineError

NAME = "postgres"
_REPLACED = "postgres.replaced"  # exists only between the two renames of a replacement, and until it is removed


def holds_database(folder: Path) -> bool:
    """Return whether DATA_DIR `folder` has PostgreSQL's data, of whatever version."""
    return any((folder / name).exists() for name in (NAME, _REPLACED))


def check_major(data: Path, version: str) -> None:
    """Raise EngineError, which says what to do, unless `data` was made by the major version of `version`."""
    try:
        made_by = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise EngineError(f"{data} is not a data folder of PostgreSQL: it has no file PG_VERSION.") from None
    major = version.partition(".")[0]
    if made_by == major:
        return
    holds = f"{data} holds PostgreSQL {made_by}, this version of WingmanMatch brings PostgreSQL {major}"
    if not made_by.isdecimal() or int(made_by) < int(major):
        raise EngineError(
            f"{holds}: back it up with the version that used it last (`wingmanmatch backup FILE`), move the folder "
            "away, and run `wingmanmatch restore FILE` of this version."
        )
    raise EngineError(
        f"{holds}, which cannot read it: run the version that used it last, or move the folder away "
        "and restore a backup that was made before the upgrade."
    )


def replace_data(folder: Path, restored: Path) -> None:
    """Put the data folder `restored` in the place of PostgreSQL's in DATA_DIR `folder`, and remove the old one.

    Nothing may run on either. Whenever the process or the machine dies, `finish_replacement` later finds the old data
    or the new ones, complete. Raises OSError, and EngineError if the old folder is a symbolic link, whose target
    would not be replaced.
    """
    data, replaced = folder / NAME, folder / _REPLACED
    finish_replacement(folder)
    if data.is_symlink():
        raise EngineError(f"{data} is a symbolic link: put DATA_DIR itself on the volume that is to hold the data.")
    if data.exists():
        data.rename(replaced)
    try:
        restored.rename(data)
    except OSError:
        if replaced.exists():
            replaced.rename(data)
        raise
    _sync(folder)
    finish_replacement(folder)


def finish_replacement(folder: Path) -> None:
    """Bring a replacement to its end that was interrupted: undo it before the new data came, else remove the old."""
    data, replaced = folder / NAME, folder / _REPLACED
    if not replaced.exists():
        return
    if data.exists():
        shutil.rmtree(replaced)
    else:
        replaced.rename(data)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
