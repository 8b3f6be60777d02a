"""The wheel holds what the server reads at run time."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.protos import REPOSITORY

SERVER = REPOSITORY / "server"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def files(root: Path, *patterns: str) -> set[str]:
    """Return the files below `root` that match, relative to it."""
    return {path.relative_to(root).as_posix() for pattern in patterns for path in root.rglob(pattern)}


def test_data_files_of_the_server_are_in(wheel: set[str]) -> None:
    """Templates, scripts and SQL lie beside the modules that read them."""
    data = files(SERVER, "*.j2", "*.lua", "*.sql", "py.typed")
    assert len(data) > 10
    assert data <= wheel


def test_migrations_are_in(wheel: set[str]) -> None:
    """An installed server can migrate without a checkout."""
    names = files(REPOSITORY / "supabase" / "migrations", "*.sql")
    assert len(names) > 1
    assert {f"wingmanmatch_server/migrations/{name}" for name in names} <= wheel


def test_generated_code_and_client_are_in(wheel: set[str]) -> None:
    """What clients import is there, with its types."""
    generated = files(REPOSITORY / "generated", "*.py", "*.pyi", "py.typed")
    root = REPOSITORY / "clients" / "python"
    client = {name for name in files(root, "*.py", "py.typed") if name.startswith("wingmanmatch_client/")}
    assert len(client) > 10
    assert {name for name in generated | client if "__pycache__" not in name} <= wheel


def test_nothing_else_is_in(wheel: set[str]) -> None:
    """No test, no document and no setting travels along."""
    roots = {name.split("/")[0] for name in wheel}
    assert {root for root in roots if not root.endswith(".dist-info")} == {
        "buf",
        "wingmanmatch",
        "wingmanmatch_client",
        "wingmanmatch_server",
    }
