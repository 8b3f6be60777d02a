"""`make release` prepares a release, or refuses with one sentence; the version is the same everywhere."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.checkouts import Checkout, before_first_release
from support.protos import REPOSITORY

SERVER = "server/wingmanmatch_server/__init__.py"
CLIENT = "clients/typescript/package.json"
CLIENT_LOCK = "clients/typescript/package-lock.json"
ERROR_REASON = "protos/wingmanmatch/error/v1/error_reason.proto"
ADDED = "\n// Added.\nmessage Added {}\n"
NAMED_VERSION = re.compile(r"wingmanmatch(?:[/_-]client)?[ :=@/v_-]+\d+\.\d+\.\d+(?!\.?\d)", re.IGNORECASE)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy of the repository before its first release, whose files a test may change."""
    return before_first_release(tmp_path / "checkout")


def released(checkout: Checkout, version: str) -> Checkout:
    """Release `version` from the checkout, and commit it."""
    result = checkout.make("release", f"VERSION={version}")
    assert result.returncode == 0, result.stdout + result.stderr
    checkout.commit()
    return checkout


def changed_lines(checkout: Checkout) -> dict[str, str]:
    """Return, for each changed file but the image, how many lines were added and removed."""
    command = ("diff", "--numstat", "--", ".", ":!protos/baseline.binpb")
    rows = [line.split("\t") for line in checkout.git(*command).splitlines()]
    return {path: f"+{added} -{removed}" for added, removed, path in rows}


def add_change(checkout: Checkout) -> None:
    """Commit a change that is worth a release."""
    checkout.replace("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n\n### Fixed\n\n- Invitations expire.\n")
    checkout.commit()


def test_versions_agree() -> None:
    """The server, the TypeScript client, its lock and the changelog state one version."""
    command = (sys.executable, "protos/versions.py")
    result = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_no_other_file_states_the_version() -> None:
    """Whoever names a version of WingmanMatch in one more file adds that file to protos/versions.py."""
    exempt = {SERVER, CLIENT, CLIENT_LOCK, "CHANGELOG.md", "tests/golden/test_release.py"}
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [path for path in listed if path not in exempt and (REPOSITORY / path).is_file()]
    assert len(paths) > 100
    assert [path for path in paths if NAMED_VERSION.search((REPOSITORY / path).read_text("utf-8", "replace"))] == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("WingmanMatch 0.1.0", True),
        ("wingmanmatch==0.1.0", True),
        ("wingmanmatch:v0.1.0", True),
        ("wingmanmatch-0.1.0.tar.gz", True),
        ("@wingmanmatch/client@0.1.0", True),
        ("wingmanmatch 127.0.0.1", False),
    ],
)
def test_a_named_version_is_recognized(text: str, *, names: bool) -> None:
    """The pattern finds the usual ways to name a version, and takes no address for one."""
    assert bool(NAMED_VERSION.search(text)) is names


@pytest.mark.parametrize(
    ("path", "before"),
    [
        (SERVER, '__version__ = "0.1.0"'),
        (CLIENT, '"version": "0.1.0"'),
        (CLIENT_LOCK, '"version": "0.1.0"'),
        (CLIENT_LOCK, '"name": "@wingmanmatch/client",\n      "version": "0.1.0"'),
        ("CHANGELOG.md", "## [0.1.0]"),
    ],
    ids=["server", "client", "lock", "package in lock", "changelog"],
)
def test_a_differing_version_is_found(checkout: Checkout, path: str, before: str) -> None:
    """One place that states another version than the rest is refused by name."""
    released(checkout, "0.1.0")
    checkout.replace(path, before, before.replace("0.1.0", "0.1.1"))
    result = checkout.run("protos/versions.py")
    assert result.returncode == 1
    assert re.search(rf"^The version must be the same everywhere.*{re.escape(path)}[^,:]*: 0\.1\.1", result.stderr)


def test_the_first_release_is_the_version_already_stated(checkout: Checkout) -> None:
    """Releasing 0.1.0 stamps the changelog with the day and the baseline, and leaves an empty Unreleased above."""
    days = {datetime.now(UTC).date().isoformat()}
    result = checkout.make("release", "VERSION=0.1.0")
    days.add(datetime.now(UTC).date().isoformat())
    assert result.returncode == 0, result.stderr
    preamble, unreleased, release, *older = checkout.read("CHANGELOG.md").split("\n## ")
    assert (preamble, unreleased, older) == ("# Changelog\n", "Unreleased\n", [])
    assert release.splitlines()[0] in {f"[0.1.0] - {day}" for day in days}
    assert "\n### Added\n\n- Matching.\n" in release
    assert re.search(r"\n- The protos as released\. \(image `[0-9a-f]{16}`\)\n$", release)
    assert set(changed_lines(checkout)) == {"CHANGELOG.md"}


def test_a_release_states_its_version_everywhere(checkout: Checkout) -> None:
    """Only the lines that state the version change, and afterwards lint finds them in agreement."""
    released(checkout, "0.1.0")
    add_change(checkout)
    assert checkout.make("release", "VERSION=0.10.0").returncode == 0
    changed = changed_lines(checkout)
    changelog = changed.pop("CHANGELOG.md")
    assert changed == {SERVER: "+1 -1", CLIENT: "+1 -1", CLIENT_LOCK: "+2 -2"}
    assert changelog.endswith(" -0")
    assert '__version__ = "0.10.0"' in checkout.read(SERVER)
    assert checkout.run("protos/versions.py").returncode == 0
    assert checkout.run("protos/lint.py").returncode == 0


def test_a_release_commits_and_tags_nothing(checkout: Checkout) -> None:
    """It leaves that to the commands it prints, which work as they are printed."""
    before = checkout.git("rev-parse", "HEAD")
    printed = checkout.make("release", "VERSION=0.1.0").stdout
    assert (checkout.git("rev-parse", "HEAD"), checkout.git("tag")) == (before, "")
    commands = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    assert commands.pop(0) == "make lint test"
    assert commands.pop() == "git push --follow-tags"
    for command in commands:
        checkout.shell(command)
    assert (checkout.status(), checkout.git("tag")) == ("", "v0.1.0\n")
    comment, previous = checkout.read("tests/previous_version").splitlines()
    assert comment.startswith("# The commit of the previous version")
    for name in ("v0.1.0^{commit}", "HEAD~"):
        assert checkout.git("rev-parse", name) == f"{previous}\n"


def test_a_release_promises_what_was_added(checkout: Checkout) -> None:
    """A message added since the baseline may go again before the release, and not after it."""
    path = checkout.root / ERROR_REASON
    without = path.read_text("utf-8")
    path.write_text(without + ADDED, "utf-8")
    checkout.commit()
    path.write_text(without, "utf-8")
    assert checkout.run("protos/lint.py").returncode == 0
    path.write_text(without + ADDED, "utf-8")
    released(checkout, "0.1.0")
    path.write_text(without, "utf-8")
    result = checkout.run("protos/lint.py")
    assert result.returncode == 1
    assert '"Added"' in result.stdout


@pytest.mark.parametrize("version", ["", "1", "1.0", "v1.0.0", "1.0.0-rc.1", "01.0.0", "1.0.0.0", "-1.0.0"])
def test_a_bad_version_is_refused(checkout: Checkout, version: str) -> None:
    """A version is three numbers without leading zeros."""
    result = checkout.run("protos/release.py", "--", version)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"VERSION must be three numbers, such as 0.2.0, and is “{version}”.\n"
    assert checkout.status() == ""


def test_make_release_needs_a_version(checkout: Checkout) -> None:
    """`make release` alone says what is missing."""
    result = checkout.make("release")
    assert result.returncode == 2
    assert result.stderr.startswith("VERSION must be three numbers")


def test_nothing_in_a_version_or_a_reason_reaches_the_shell(checkout: Checkout) -> None:
    """Quotes and command substitutions are text like any other."""
    result = checkout.make("release", 'VERSION="; touch spoiled; `touch spoiled` "')
    assert '“"; touch spoiled; `touch spoiled` "”' in result.stderr
    assert checkout.make("baseline", 'REASON=`touch spoiled`"; touch spoiled; "').returncode == 0
    assert not (checkout.root / "spoiled").exists()


@pytest.mark.parametrize("version", ["0.0.9", "0.1.0"])
def test_a_version_that_is_not_newer_is_refused(checkout: Checkout, version: str) -> None:
    """Neither an older version nor the released one can be released."""
    released(checkout, "0.1.0")
    add_change(checkout)
    refused(checkout, version, f"{version} is not newer than 0.1.0, the current version.")


def refused(checkout: Checkout, version: str, sentence: str) -> None:
    """Check that the release is refused with exactly this sentence, and that no file changed."""
    before = files(checkout)
    result = checkout.run("protos/release.py", version)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"{sentence}\n"
    assert files(checkout) == before


def files(checkout: Checkout) -> dict[Path, bytes]:
    """Return what every file of the work tree holds."""
    paths = (path for path in checkout.root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path: path.read_bytes() for path in paths if "__pycache__" not in path.parts}


def modify(checkout: Checkout) -> None:
    """Change a file that git knows."""
    (checkout.root / "Makefile").write_text("", "utf-8")


def leave_untracked(checkout: Checkout) -> None:
    """Add a file that git does not know."""
    (checkout.root / "note.txt").write_text("", "utf-8")


def remove_git(checkout: Checkout) -> None:
    """Make the checkout a plain folder."""
    shutil.rmtree(checkout.root / ".git")


def empty_unreleased(checkout: Checkout) -> None:
    """Commit a changelog whose Unreleased has a heading and no entry."""
    (checkout.root / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n### Added\n", "utf-8")
    checkout.commit()


def spoil_heading(checkout: Checkout) -> None:
    """Commit a changelog with a release without a date."""
    (checkout.root / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- A.\n\n## 0.0.9\n", "utf-8")
    checkout.commit()


def lose_unreleased(checkout: Checkout) -> None:
    """Commit a changelog without Unreleased."""
    (checkout.root / "CHANGELOG.md").write_text("# Changelog\n", "utf-8")
    checkout.commit()


def lose_baseline(checkout: Checkout) -> None:
    """Commit the loss of the baseline."""
    (checkout.root / "protos/baseline.binpb").unlink()
    checkout.commit()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (modify, "The git work tree has uncommitted changes; the first is “ M Makefile”."),
        (leave_untracked, "The git work tree has uncommitted changes; the first is “?? note.txt”."),
        (remove_git, "A release is prepared in a git work tree, and this is none."),
        (empty_unreleased, "Unreleased in CHANGELOG.md has no entry, so there is nothing to release."),
        (spoil_heading, "CHANGELOG.md has the heading “## 0.0.9”, which must read “## [x.y.z] - YYYY-MM-DD”."),
        (lose_unreleased, "CHANGELOG.md must begin with the section “## Unreleased”."),
        (
            lose_baseline,
            "protos/baseline.binpb is missing: restore it with `git checkout HEAD -- protos/baseline.binpb`.",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_release_is_refused(checkout: Checkout, spoil: Callable[[Checkout], None], sentence: str) -> None:
    """What keeps a release from being made is one sentence, and no file changes."""
    spoil(checkout)
    refused(checkout, "0.1.0", sentence)


def test_nothing_is_released_twice_from_one_changelog(checkout: Checkout) -> None:
    """Right after a release there is nothing to release."""
    released(checkout, "0.1.0")
    refused(checkout, "0.2.0", "Unreleased in CHANGELOG.md has no entry, so there is nothing to release.")


def test_a_release_that_breaks_callers_is_refused(checkout: Checkout) -> None:
    """A breaking change cannot reach the baseline by way of a release."""
    (checkout.root / ERROR_REASON).write_text(checkout.read(ERROR_REASON) + ADDED, "utf-8")
    checkout.commit()
    released(checkout, "0.1.0")
    add_change(checkout)
    checkout.replace(ERROR_REASON, ADDED, "")
    checkout.commit()
    before = files(checkout)
    result = checkout.run("protos/release.py", "0.2.0")
    assert result.returncode == 1
    assert '"Added"' in result.stdout
    assert result.stderr.endswith("The protos do not pass `python protos/lint.py`.\n")
    assert files(checkout) == before
