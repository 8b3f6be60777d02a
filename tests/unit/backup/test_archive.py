"""The backup file: it appears whole or not at all, and what is wrong with one is said."""

import errno
import os
import zipfile
from pathlib import Path

import pytest

from wingmanmatch_server.backup.archive import DUMP, BackupError, Description, new_file, reading, writing

DESCRIPTION = Description("0.1.0", 180006, 18, "2026-11-28T12:00:00+00:00")


def write(path: Path, description: Description = DESCRIPTION, dump: bytes = b"rows" * 1000) -> Path:
    """Write a backup and return its path."""
    with new_file(path, force=False) as file, writing(file, description, b"CREATE ROLE a;") as target:
        target.write(dump)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Description, roles and dump are the same again, and the file is its owner's alone."""
    path = write(tmp_path / "file")
    with reading(path, 18) as backup:
        assert backup.description == DESCRIPTION
        assert backup.roles == "CREATE ROLE a;"
        assert backup.dump().read() == b"rows" * 1000
    assert path.stat().st_mode & 0o777 == 0o600


def test_file_does_not_appear_before_it_is_complete(tmp_path: Path) -> None:
    """Under its name there is nothing until the block ends, and after a failed block nothing at all."""
    path = tmp_path / "file"
    with new_file(path, force=False) as file:
        file.write(b"all of it")
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "other", force=False):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """What another process puts under the name while the backup is made stays, unless it may be replaced."""
    path = tmp_path / "file"
    with pytest.raises(BackupError, match="exists"), new_file(path, force=False):
        path.write_text("precious")
    assert path.read_text() == "precious"
    with new_file(path, force=True) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["fifo", "directory", "link to a fifo", "link to a directory", "link to itself"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str, *, force: bool) -> None:
    """A FIFO, a directory, and a link to either, are refused before anything is written, and stay what they are."""
    path, other = tmp_path / "file", tmp_path / "other"
    place = other if kind.startswith("link") else path
    if kind.endswith("fifo"):
        os.mkfifo(place)
    elif kind.endswith("directory"):
        place.mkdir()
    if kind.startswith("link"):
        path.symlink_to(path if kind.endswith("itself") else other)
    before = {entry.name: entry.lstat() for entry in tmp_path.iterdir()}
    with pytest.raises(BackupError, match=r"file (is not a regular file|cannot be written)"):
        with_content(path, b"new", force=force)
    after = {entry.name: entry.lstat() for entry in tmp_path.iterdir()}
    assert {name: (found.st_ino, found.st_mode) for name, found in after.items()} == {
        name: (found.st_ino, found.st_mode) for name, found in before.items()
    }


def test_what_is_no_file_and_appears_meanwhile_stays(tmp_path: Path) -> None:
    """A FIFO that takes the name while the backup is made is not replaced."""
    path = tmp_path / "file"
    with pytest.raises(BackupError, match="is not a regular file"), new_file(path, force=True):
        os.mkfifo(path)
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_target_of_a_link_is_written(tmp_path: Path) -> None:
    """A link to a file stays a link; its target is replaced, from a temporary file in the target's own folder."""
    target = tmp_path / "folder" / "target"
    target.parent.mkdir()
    target.write_text("precious")
    path = tmp_path / "file"
    path.symlink_to(Path("folder", "target"))
    with pytest.raises(BackupError, match="file exists: choose another name"):
        with_content(path, b"new", force=False)
    assert target.read_text() == "precious"
    with new_file(path, force=True) as file:
        file.write(b"new")
        assert len(list(target.parent.iterdir())) == 2
    assert (path.is_symlink(), target.is_symlink(), target.read_bytes()) == (True, False, b"new")
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["file", "folder", "target"]


@pytest.mark.parametrize("force", [False, True])
def test_link_to_nothing_is_refused(tmp_path: Path, *, force: bool) -> None:
    """Neither the link is replaced nor its target made: what is missing may be a volume that is not mounted."""
    path = tmp_path / "file"
    path.symlink_to(tmp_path / "missing")
    with pytest.raises(BackupError, match=r"file is a symbolic link to .*/missing, which does not exist"):
        with_content(path, b"new", force=force)
    assert path.is_symlink()
    assert list(tmp_path.iterdir()) == [path]


def with_content(path: Path, content: bytes, *, force: bool) -> None:
    """Write a new file."""
    with new_file(path, force=force) as file:
        file.write(content)


def test_error_of_a_write_is_a_sentence(tmp_path: Path) -> None:
    """The system's reason stands beside the name of the file."""
    sentence = r"file cannot be written: No space left on device\."
    with pytest.raises(BackupError, match=sentence), new_file(tmp_path / "file", force=False):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_every_cut_and_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    """However much of the end is missing, and whichever byte of the content is another, the file is refused."""
    content = write(tmp_path / "file", dump=b"dump").read_bytes()
    path = tmp_path / "bad"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(BackupError, match=r"is incomplete|is not a file that"), reading(path, 18):
            pass
    place = content.index(b"dump", content.index(DUMP.encode()) + len(DUMP))
    for changed in (place, content.index(b"CREATE"), content.index(b"180006")):
        path.write_bytes(content[:changed] + b"?" + content[changed + 1 :])
        with pytest.raises(BackupError, match="is damaged"), reading(path, 18):
            pass


def test_archive_of_other_members_is_damaged(tmp_path: Path) -> None:
    """A zip file that begins as ours but has other members is refused."""
    path = tmp_path / "file"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wingmanmatch-backup.json", "{}")
    with pytest.raises(BackupError, match="is damaged"), reading(path, 18):
        pass


@pytest.mark.parametrize(("postgres", "dumped_by"), [(190001, 19), (150018, 19), (190001, 18)])
def test_newer_postgresql(tmp_path: Path, postgres: int, dumped_by: int) -> None:
    """A dump is refused if either the server or pg_dump was newer; the same file is fine for a version as new."""
    path = write(tmp_path / "file", Description("0.2.0", postgres, dumped_by, "2026-11-28T12:00:00+00:00"))
    sentence = r"PostgreSQL 19.* restore it with WingmanMatch 0\.2\.0 or later"
    with pytest.raises(BackupError, match=sentence), reading(path, 18):
        pass
    with reading(path, 19) as backup:
        assert backup.description.wingmanmatch == "0.2.0"


@pytest.mark.parametrize("description", ["[]", "{}", "nonsense", '{"format": 1}', '{"format": "1"}'])
def test_description_of_another_shape_is_damaged(tmp_path: Path, description: str) -> None:
    """A description that lacks what it must have is refused as damaged."""
    path = tmp_path / "file"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (("wingmanmatch-backup.json", description), ("roles.sql", ""), (DUMP, "")):
            archive.writestr(name, text)
    with pytest.raises(BackupError, match="is damaged"), reading(path, 18):
        pass
