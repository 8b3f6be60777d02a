"""Generate `generated/` from the protos in this folder.

    python protos/generate.py           write generated/
    python protos/generate.py --check   exit with 1 if generated/ is not what the protos say

Messages and stubs come from protoc as packaged in grpcio-tools, types from mypy-protobuf. The protos of `google.api`,
`google.rpc` and `google.type` are those that googleapis-common-protos installs; their Python is not generated again.
"""

import filecmp
import re
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.type import latlng_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
GENERATED = PROTOS.parent / "generated"
INCLUDES = (
    PROTOS,
    Path(grpc_tools.__file__).parent / "_proto",  # google/protobuf
    Path(latlng_pb2.__file__).parents[2],  # google/api, google/rpc, google/type
)
MESSAGES = ("--python_out={0}", "--mypy_out=quiet:{0}")
SERVICE = re.compile(r"^service \w+ \{$", re.MULTILINE)
# mypy-protobuf reads `only_async`, whatever its README calls the option.
STUBS = ("--grpc_python_out={0}", "--mypy_grpc_out=only_async,quiet:{0}")
# Beside this Python, wherever PATH leads.
PLUGINS = [f"--plugin={Path(sys.executable).parent / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]


def generate(target: Path) -> None:
    """Write messages, stubs and their types for every proto below this folder to `target`."""
    sources = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))
    run_protoc(target, MESSAGES, sources)
    run_protoc(target, STUBS, [source for source in sources if SERVICE.search((PROTOS / source).read_text("utf-8"))])
    (target / "wingmanmatch" / "py.typed").touch()


def run_protoc(target: Path, outputs: tuple[str, ...], sources: list[str]) -> None:
    """Run one protoc over `sources`; raise SystemExit if it refuses them."""
    options = [f"-I{include}" for include in INCLUDES] + PLUGINS + [output.format(target) for output in outputs]
    if protoc.main(["protoc", *options, *sources]):
        raise SystemExit("protoc refused the protos")


def differences(left: Path, right: Path) -> list[str]:
    """Return the paths, relative to either folder, at which the two trees are not byte for byte the same."""
    names = {path.relative_to(root) for root in (left, right) for path in root.rglob("*") if path.is_file()}
    return sorted(
        str(name)
        for name in names
        if "__pycache__" not in name.parts
        and not (
            (left / name).exists() and (right / name).exists() and filecmp.cmp(left / name, right / name, shallow=False)
        )
    )


def main(arguments: list[str]) -> int:
    """Generate into a scratch folder, then compare or replace."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        if "--check" in arguments:
            stale = differences(Path(scratch), GENERATED)
            print("\n".join(f"stale: {name}" for name in stale) or "generated/ is fresh")
            return 1 if stale else 0
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(scratch, GENERATED)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
