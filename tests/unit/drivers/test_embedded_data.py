"""The data folder of the embedded PostgreSQL: its version, and its replacement, interrupted anywhere."""

from pathlib import Path

import pytest

from wingmanmatch_server.drivers.embedded_data import check_major, finish_replacement, holds_database, replace_data
from wingmanmatch_server.drivers.embedded_process import EngineError


def make(folder: Path, content: str) -> Path:
    """Make a folder with one file."""
    folder.mkdir(parents=True)
    (folder / "file").write_text(content)
    return folder


def content_of(folder: Path) -> dict[str, str]:
    """Return what each folder of a data folder has."""
    return {path.parent.name: path.read_text() for path in folder.rglob("file")}


@pytest.mark.parametrize(
    ("made_by", "said"),
    [
        ("18", None),
        (
            "15",
            r"PostgreSQL 15, .* PostgreSQL 18: back it up .*`wingmanmatch backup FILE`.*`wingmanmatch restore FILE`",
        ),
        ("9.6", "PostgreSQL 9.6, .* back it up"),
        ("19", "PostgreSQL 19, .* PostgreSQL 18, which cannot read it: run the version that used it last"),
        ("", "back it up"),
    ],
)
def test_major_version_of_a_folder(tmp_path: Path, made_by: str, said: str | None) -> None:
    """The same major version is fine; an older or a newer one gets one sentence that says what to do."""
    (tmp_path / "PG_VERSION").write_text(f"{made_by}\n")
    if said is None:
        check_major(tmp_path, "18.6")
        return
    with pytest.raises(EngineError, match=said) as caught:
        check_major(tmp_path, "18.6")
    assert "\n" not in str(caught.value)


def test_folder_without_a_version(tmp_path: Path) -> None:
    """A folder of something else is named as such."""
    with pytest.raises(EngineError, match=f"{tmp_path} is not a data folder of PostgreSQL"):
        check_major(tmp_path, "18.6")


def test_replacement(tmp_path: Path) -> None:
    """The new folder is in the old one's place, whether there was one or not, and the old one is gone."""
    replace_data(tmp_path, make(tmp_path / "side" / "postgres", "first"))
    assert content_of(tmp_path) == {"postgres": "first"}
    replace_data(tmp_path, make(tmp_path / "side2" / "postgres", "second"))
    assert content_of(tmp_path) == {"postgres": "second"}


def test_replacement_that_fails_is_undone(tmp_path: Path) -> None:
    """If the new folder cannot be moved, the old one is in its place."""
    make(tmp_path / "postgres", "old")
    with pytest.raises(FileNotFoundError):
        replace_data(tmp_path, tmp_path / "missing")
    assert content_of(tmp_path) == {"postgres": "old"}


def test_replacement_interrupted_between_its_steps(tmp_path: Path) -> None:
    """Killed before the new data came, the old come back; killed after, the old are removed."""
    make(tmp_path / "postgres.replaced", "old")
    assert holds_database(tmp_path)
    finish_replacement(tmp_path)
    assert content_of(tmp_path) == {"postgres": "old"}
    make(tmp_path / "postgres.replaced", "older")
    finish_replacement(tmp_path)
    assert content_of(tmp_path) == {"postgres": "old"}


def test_symbolic_link_is_not_replaced(tmp_path: Path) -> None:
    """A link to another volume is refused, and both folders stay."""
    target = make(tmp_path / "elsewhere", "old")
    (tmp_path / "postgres").symlink_to(target)
    with pytest.raises(EngineError, match="is a symbolic link"):
        replace_data(tmp_path, make(tmp_path / "side", "new"))
    assert content_of(tmp_path) == {"elsewhere": "old", "side": "new"}
