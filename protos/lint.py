"""Check the protos of this folder with buf, offline.

    python protos/lint.py                  lint, and check the format
    python protos/lint.py --against REF    also refuse what breaks callers of the protos at git revision REF

Without `--against`, the protos are compared with `origin/main` where that exists.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from google.type import latlng_pb2

PROTOS = Path(__file__).resolve().parent
REPOSITORY = PROTOS.parent
GOOGLE = Path(latlng_pb2.__file__).parents[1]
GOOGLE_FOLDERS = ("api", "rpc", "type")
DEFAULT_REFERENCE = "origin/main"


def lay_out(protos: Path, workspace: Path) -> None:
    """Make `workspace`, which must not exist, a copy of `protos` with those of Google that they import beside them."""
    shutil.copytree(protos, workspace, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copy(PROTOS / "buf.yaml", workspace)
    for folder in GOOGLE_FOLDERS:
        (workspace / "google" / folder).mkdir(parents=True)
        for proto in sorted((GOOGLE / folder).glob("*.proto")):
            shutil.copy(proto, workspace / "google" / folder)


def extract(reference: str, target: Path) -> Path:
    """Write the protos of a git revision below `target`; return their folder. Raise SystemExit if git cannot."""
    result = run("git", "archive", "--format=tar", reference, "protos", folder=REPOSITORY, capture=True)
    if result.returncode:
        raise SystemExit(result.stderr.decode())
    with tarfile.open(fileobj=BytesIO(result.stdout)) as archive:
        archive.extractall(target, filter="data")
    return target / "protos"


def exists(reference: str) -> bool:
    """Whether git knows the revision."""
    arguments = ("rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}")
    return run("git", *arguments, folder=REPOSITORY, capture=True).returncode == 0


def buf(workspace: Path, *arguments: str) -> bool:
    """Run buf in `workspace`; return whether it is content."""
    return run("buf", *arguments, folder=workspace).returncode == 0


def run(program: str, *arguments: str, folder: Path, capture: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run a program that lies beside this Python, or else on PATH, in `folder`."""
    path = shutil.which(program, path=str(Path(sys.executable).parent)) or program
    return subprocess.run((path, *arguments), cwd=folder, check=False, capture_output=capture)  # noqa: S603 - our own


def check(protos: Path, scratch: Path) -> bool:
    """Lint the protos and check their format; return whether both passed. The workspace stays in `scratch`."""
    workspace = scratch / "current"
    lay_out(protos, workspace)
    ours = [argument for folder in sorted(protos.iterdir()) if folder.is_dir() for argument in ("--path", folder.name)]
    return all([buf(workspace, "lint"), buf(workspace, "format", "--diff", "--exit-code", *ours)])


def check_compatibility(reference: str, scratch: Path) -> bool:
    """Return whether callers built from the protos at `reference` are served by those that `check` laid out."""
    earlier = scratch / "earlier"
    lay_out(extract(reference, scratch / "extracted"), earlier)
    return buf(scratch / "current", "breaking", "--against", str(earlier))


def main(arguments: list[str]) -> int:
    """Parse the command line, run the checks, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check the protos with buf, offline.")
    parser.add_argument("--against", metavar="REF", help="the git revision to stay compatible with")
    reference: str | None = parser.parse_args(arguments).against
    if reference is None and exists(DEFAULT_REFERENCE):
        reference = DEFAULT_REFERENCE
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        passed = check(PROTOS, scratch)
        if reference is not None:
            passed = check_compatibility(reference, scratch) and passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
