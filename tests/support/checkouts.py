"""Copies of the repository that a test may change, commit to and clone."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from support.protos import REPOSITORY

# What the commands on protos, versions and releases read and write.
PARTS = (
    ".gitattributes",
    "CHANGELOG.md",
    "Makefile",
    "clients/typescript/package.json",
    "clients/typescript/package-lock.json",
    "protos",
    "server/wingmanmatch_server/__init__.py",
    "tests/previous_version",
)
CHANGELOG = """# Changelog

## Unreleased

### Added

- Matching.

### Protos baseline

- The protos as first recorded. (image `{digest}`)
"""
# A git hook or an outer make would steer those that a test starts.
STEERING = ("GIT_", "MAKE", "MFLAGS", "REASON", "VERSION")
NAMED = {"NAME": "Ada", "EMAIL": "ada@example.test"}
AUTHOR = ("-c", "user.name=Ada", "-c", "user.email=ada@example.test", "-c", "commit.gpgsign=false")


class Checkout:
    """A git work tree of its own with the parts of this repository, as they are here, in its one commit."""

    def __init__(self, root: Path) -> None:
        """Make it at `root`, which must not exist."""
        self.root = root
        ignored = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            (root / part).parent.mkdir(parents=True, exist_ok=True)
            if (REPOSITORY / part).is_dir():
                shutil.copytree(REPOSITORY / part, root / part, ignore=ignored)
            else:
                shutil.copy(REPOSITORY / part, root / part)
        (root / ".gitignore").write_text("__pycache__/\n", "utf-8")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def git(self, *arguments: str) -> str:
        """Run git here; return what it prints. Raises CalledProcessError if it fails."""
        result = self._run("git", *AUTHOR, *arguments)
        result.check_returncode()
        return result.stdout

    def commit(self) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "All")

    def status(self) -> str:
        """Return what git finds changed; nothing in a clean tree."""
        return self.git("status", "--porcelain")

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a Python script of the checkout with this Python."""
        return self._run(sys.executable, script, *arguments)

    def shell(self, line: str) -> None:
        """Run a line of shell here, with an author for git. Raises CalledProcessError if it fails."""
        author = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in NAMED.items()}
        self._run("env", *(f"{name}={value}" for name, value in author.items()), "sh", "-c", line).check_returncode()

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make with the programs installed beside this Python, without installing any."""
        programs = f"BIN={Path(sys.executable).parent}"
        return self._run("make", "--old-file=.venv/.dev", programs, *arguments)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)}
        environment["GIT_CEILING_DIRECTORIES"] = str(self.root.parent)
        return subprocess.run(command, cwd=self.root, env=environment, check=False, capture_output=True, text=True)

    def read(self, path: str) -> str:
        """Return the text of a file."""
        return (self.root / path).read_text("utf-8")

    def replace(self, path: str, before: str, after: str) -> None:
        """Replace the first place where `before` stands in a file, which must have it."""
        text = self.read(path)
        assert before in text, f"{path} has no {before!r}"
        (self.root / path).write_text(text.replace(before, after, 1), "utf-8")


def before_first_release(root: Path, version: str = "0.1.0") -> Checkout:
    """Return a checkout that states `version` and has no release, whatever this repository has released."""
    checkout = Checkout(root)
    digest = hashlib.sha256((root / "protos/baseline.binpb").read_bytes()).hexdigest()[:16]
    (root / "CHANGELOG.md").write_text(CHANGELOG.format(digest=digest), "utf-8")
    server = root / "server/wingmanmatch_server/__init__.py"
    server.write_text(re.sub('= ".*"$', f'= "{version}"', server.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    for name in ("package.json", "package-lock.json"):
        path = root / "clients/typescript" / name
        content = json.loads(path.read_text("utf-8"))
        for package in (content, content.get("packages", {}).get("", {})):
            package["version"] = version
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    checkout.commit()
    return checkout
