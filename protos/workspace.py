"""Where buf runs, offline: a scratch copy of the protos, with those of Google that they import beside them."""

import shutil
import subprocess
import sys
from pathlib import Path

from google.type import latlng_pb2

PROTOS = Path(__file__).resolve().parent
REPOSITORY = PROTOS.parent
GOOGLE = Path(latlng_pb2.__file__).parents[1]
GOOGLE_FOLDERS = ("api", "rpc", "type")


def lay_out(workspace: Path) -> None:
    """Make `workspace`, which must not exist, a copy of the protos with the protos of Google that they import."""
    shutil.copytree(PROTOS, workspace, ignore=shutil.ignore_patterns("*.py", "*.binpb", "__pycache__"))
    for folder in GOOGLE_FOLDERS:
        (workspace / "google" / folder).mkdir(parents=True)
        for proto in sorted((GOOGLE / folder).glob("*.proto")):
            shutil.copy(proto, workspace / "google" / folder)


def our_paths() -> list[str]:
    """Return the options by which buf considers the protos of this folder alone, and Google's as their imports."""
    folders = sorted({path.relative_to(PROTOS).parts[0] for path in PROTOS.rglob("*.proto")})
    return [option for folder in folders for option in ("--path", folder)]


def buf(workspace: Path, *arguments: str) -> bool:
    """Run buf in `workspace`, whose findings go to the terminal; return whether there were none."""
    return run("buf", *arguments, folder=workspace).returncode == 0


def run(program: str, *arguments: str, folder: Path, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a program that lies beside this Python, or else on PATH, in `folder`."""
    path = shutil.which(program, path=str(Path(sys.executable).parent)) or program
    command = (path, *arguments)
    return subprocess.run(command, cwd=folder, check=False, capture_output=capture, text=True)  # noqa: S603 - our own
