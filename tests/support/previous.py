"""The previous version of the server, laid out from the repository's history: its code, its migrations, its tests."""

import io
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.protos import REPOSITORY

NAMED_IN = REPOSITORY / "tests" / "previous_version"
PACKAGES = ("generated", "server", "clients/python")  # folders that hold packages, as in [tool.hatch.build]
IMPORTED = ("wingmanmatch.matching.v1.matching_pb2", "wingmanmatch_client", "wingmanmatch_server")
# -P keeps the working directory, which may be this version's, out of the import path.
PYTHON = (sys.executable, "-P")
# The `wingmanmatch` command of what `PreviousVersion.environment` makes Python import.
PROGRAM = (*PYTHON, "-m", "wingmanmatch_server")


class HistoryMissing(Exception):
    """The commit cannot be read here. The text is one sentence that names it."""


@dataclass(frozen=True)
class PreviousVersion:
    """The previous version at `commit`, in the folder `root`. It uses the libraries that are installed here."""

    commit: str
    root: Path

    @property
    def migrations(self) -> Path:
        """The folder of its migrations."""
        return self.root / "supabase" / "migrations"

    @property
    def environment(self) -> dict[str, str]:
        """What makes Python import its packages instead of those that are installed."""
        return {"PYTHONPATH": os.pathsep.join(str(self.root / each) for each in PACKAGES)}

    def run_tests(self, *arguments: str, timeout: float, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run its pytest with `arguments`, in its folder; raise TimeoutExpired after `timeout` seconds."""
        inherited = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ}
        return subprocess.run(
            (*PYTHON, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *arguments),
            cwd=self.root,
            env=inherited | self.environment | environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )


def previous_commit(text: str) -> str:
    """Return the commit that the text of `tests/previous_version` names. Raises ValueError unless it is one hash."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if len(lines) != 1 or not re.fullmatch("[0-9a-f]{40}", lines[0]):
        raise ValueError(f"{NAMED_IN.name} must hold one full hash of a commit beside its comment")
    return lines[0]


def lay_out(commit: str, folder: Path, repository: Path = REPOSITORY) -> PreviousVersion:
    """Extract `commit` into `folder` from the history of `repository`, without network. Raises HistoryMissing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_NO_LAZY_FETCH"] = "1"
    command = ("git", "archive", "--format=tar", commit)
    try:
        archive = subprocess.run(command, cwd=repository, env=environment, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise HistoryMissing(f"The previous version, commit {commit}, is not in git's history here.") from error
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return PreviousVersion(commit, folder)


def require_history(missing: HistoryMissing, *, ci: bool) -> None:
    """Skip the test where the history is missing, and fail it in CI, which must fetch the history."""
    if ci:
        pytest.fail(f"{missing} CI must fetch the whole history.", pytrace=False)
    pytest.skip(str(missing))
