"""The backup file: a zip archive of a description, the roles as SQL, and the dump as pg_dump writes it.

Nothing in it is compressed a second time, and each member has a checksum, so that a damaged or shortened file is
noticed before anything is restored from it. `unzip -p FILE database.dump` gives what pg_restore reads.
"""

import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import orjson
from pydantic import TypeAdapter, ValidationError

FORMAT = 1
DESCRIPTION = "wingmanmatch-backup.json"
ROLES = "roles.sql"
DUMP = "database.dump"
NUMBERS_OF_A_MAJOR = 10_000  # server_version_num of 18.6 is 180006
_NAME_OFFSET = 30  # in a zip file, where the first member's name begins


class BackupError(Exception):
    """A backup was not made or not restored. The text is a sentence for whoever runs the command."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a backup holds.

    `postgres` is the version of the PostgreSQL that was dumped as `server_version_num` has it, `dumped_by` the major
    version of pg_dump, `made` the time in UTC as ISO 8601 has it.
    """

    wingmanmatch: str
    postgres: int
    dumped_by: int
    made: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a description of any format has."""

    wingmanmatch: str
    format: int


class Backup:
    """A backup file whose checksums were found to be right, open for reading."""

    def __init__(self, file: zipfile.ZipFile, description: Description) -> None:
        self.description = description
        self._file = file

    @property
    def roles(self) -> str:
        """The roles as pg_dumpall wrote them."""
        return self._file.read(ROLES).decode()

    def dump(self) -> IO[bytes]:
        """Open the dump, to be read from beginning to end."""
        return self._file.open(DUMP)


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Yield a file that appears at `path` when the block ends: complete, and readable by its owner alone.

    If the block fails, nothing appears. Where `path` is a symbolic link to a file, the link stays and the file is
    replaced. Raises BackupError if `path` exists, unless it is a regular file that `force` replaces; if it is a
    symbolic link to nothing; or if it cannot be written.
    """
    try:
        target = _target(path, force=force)
        with _temporary(target) as (file, temporary):
            yield file
            file.flush()
            os.fsync(file.fileno())
            _publish(temporary, target, force=force)
    except FileExistsError:
        raise BackupError(f"{path} exists: choose another name, or replace it with --force.") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def writing(file: IO[bytes], description: Description, roles: bytes) -> Iterator[IO[bytes]]:
    """Write a backup to `file`; yield where the dump goes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(DESCRIPTION, orjson.dumps(asdict(description)))
        archive.writestr(ROLES, roles)
        with archive.open(DUMP, "w", force_zip64=True) as dump:
            yield dump


@contextmanager
def reading(path: Path, postgres_major: int) -> Iterator[Backup]:
    """Check the whole file at `path` and yield it.

    Raises BackupError if it cannot be read, is no backup, is incomplete or damaged, or needs a newer version than one
    with `postgres_major`.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        archive = _checked(file, path)
        yield Backup(archive, _description(archive, path, postgres_major))


def _checked(file: IO[bytes], path: Path) -> zipfile.ZipFile:
    try:
        if not file.read(_NAME_OFFSET + len(DESCRIPTION)).endswith(DESCRIPTION.encode()):
            raise BackupError(f"{path} is not a file that `wingmanmatch backup` made.")
        archive = _opened(file, path)
        intact = archive.namelist() == [DESCRIPTION, ROLES, DUMP] and archive.testzip() is None
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}.") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError):
        intact = False  # whichever of its fields is wrong
    if not intact:
        raise BackupError(f"{path} is damaged: its checksums do not match.")
    return archive


def _opened(file: IO[bytes], path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        # The table of contents comes last.
        raise BackupError(f"{path} is incomplete: its end is missing.") from None


def _description(archive: zipfile.ZipFile, path: Path, postgres_major: int) -> Description:
    text = archive.read(DESCRIPTION)
    try:
        origin = TypeAdapter(_Origin).validate_json(text)
        if origin.format > FORMAT:
            raise BackupError(f"{path} was made by WingmanMatch {origin.wingmanmatch}: restore it with that version.")
        description = TypeAdapter(Description).validate_json(text)
    except ValidationError:
        raise BackupError(f"{path} is damaged: {DESCRIPTION} in it is not as it should be.") from None
    newest = max(description.postgres // NUMBERS_OF_A_MAJOR, description.dumped_by)
    if newest > postgres_major:
        raise BackupError(
            f"{path} was made with PostgreSQL {newest}, and this version of WingmanMatch brings PostgreSQL "
            f"{postgres_major}: restore it with WingmanMatch {description.wingmanmatch} or later."
        )
    return description


def _target(path: Path, *, force: bool) -> Path:
    """Return the path to write, which is behind the symbolic links in `path`.

    Raises FileExistsError if a file is there that must not be replaced, OSError, and BackupError.
    """
    target = Path(os.path.realpath(path))
    if _is_file(path):
        if not force:
            raise FileExistsError
    elif path.is_symlink():
        # Perhaps a volume that is not mounted: writing there would fill another one.
        raise BackupError(f"{path} is a symbolic link to {target}, which does not exist: choose another name.")
    return target


def _is_file(path: Path) -> bool:
    """Return whether a regular file is there, and not nothing. Raises BackupError for anything else, and OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise BackupError(f"{path} is not a regular file: choose another name.")
    return True


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """Yield a new file beside `path`, mode 0600, and its name, which is gone afterwards."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _publish(temporary: Path, path: Path, *, force: bool) -> None:
    if force:
        _is_file(path)  # still, and nothing else that came meanwhile
        temporary.replace(path)
    else:
        _add_name(temporary, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _add_name(temporary: Path, path: Path) -> None:
    try:
        # Unlike a rename, a link never replaces what somebody else has just put there.
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links.
        if path.exists():
            raise FileExistsError from None
        temporary.rename(path)
