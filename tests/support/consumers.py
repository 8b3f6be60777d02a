"""Projects that use the client: environments of their own, with what `pip install wingmanmatch` brings, and no more."""

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.metadata import parse_email
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.protos import REPOSITORY

BIN = Path(sys.executable).parent


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into a folder and return it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def requirements(wheel: Path, extra: str = "") -> set[str]:
    """Return the names of all that a wheel needs with an extra, and what that needs, as installed here."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        pending = [(line, extra) for line in parse_email(archive.read(name))[0]["requires_dist"]]
    found: set[str] = set()
    while pending:
        line, wanted = pending.pop()
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": wanted})):
            found.add(name)
            extras = requirement.extras or {""}
            pending += [(each, one) for each in metadata.requires(name) or () for one in extras]
    return found


def make_environment(folder: Path, wheel: Path) -> Path:
    """Make an environment with the wheel and what it needs, and return its Python. No registry is asked."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    _uv("pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--python", str(python), str(wheel))
    add(python, *requirements(wheel))
    _uv("pip", "check", "--quiet", "--python", str(python))
    return python


def add(python: Path, *names: str) -> None:
    """Install into an environment what is installed here, file by file."""
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    for name in names:
        _copy(metadata.distribution(name), packages)


def _uv(*arguments: str) -> None:
    run = subprocess.run([BIN / "uv", *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def _copy(distribution: metadata.Distribution, packages: Path) -> None:
    for file in distribution.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)
