"""Prepare a release: renew the protos' baseline, stamp the changelog, and state the version everywhere.

    python protos/release.py 0.2.0

Nothing is committed or tagged; the commands for that are printed. If it is refused, nothing has changed.
"""

import argparse
import sys
from datetime import UTC, date, datetime

import baseline
import lint
import versions
from changelog import CHANGELOG, Version, latest_release, sections, stamp
from workspace import REPOSITORY, run

REASON = "The protos as released."
NEXT = """{version} is prepared; nothing is committed yet. Next:

  make lint test
  git commit --all --message "Release {version}"
  git tag --annotate v{version} --message "Release {version}"
  echo "$(head -n 1 tests/previous_version; git rev-parse HEAD)" > tests/previous_version
  git commit --all --message "Test beside version {version}"
  git push --follow-tags
"""


def prepare(text: str, today: date) -> Version:
    """Change the files for the release of version `text`, dated `today`; return the version.

    Raise SystemExit, with nothing changed, if the release is not possible.
    """
    changelog = CHANGELOG.read_text("utf-8")
    version = check_version(text, changelog)
    check_tree()
    if not sections(changelog)[0].has_entries():
        raise SystemExit("Unreleased in CHANGELOG.md has no entry, so there is nothing to release.")
    if lint.main():
        raise SystemExit("The protos do not pass `python protos/lint.py`.")
    image = baseline.build()
    baseline.IMAGE.write_bytes(image)
    CHANGELOG.write_text(stamp(baseline.record(changelog, REASON, image), version, today), "utf-8")
    versions.write(version)
    return versions.agreed()


def check_version(text: str, changelog: str) -> Version:
    """Return the version that `text` states. Raise SystemExit unless it is x.y.z and may come next.

    The version that the files state may be released once, so the first release can be the one they were born with.
    """
    version = Version.parse(text)
    if version is None:
        raise SystemExit(f"VERSION must be three numbers, such as 0.2.0, and is “{text}”.")
    current = versions.agreed()
    if version < current or version == latest_release(changelog):
        raise SystemExit(f"{version} is not newer than {current}, the current version.")
    return version


def check_tree() -> None:
    """Raise SystemExit unless this is a git work tree in which all is committed, so that a release can be undone."""
    status = run("git", "status", "--porcelain", folder=REPOSITORY, capture=True)
    if status.returncode:
        raise SystemExit("A release is prepared in a git work tree, and this is none.")
    if status.stdout:
        first = status.stdout.splitlines()[0]
        raise SystemExit(f"The git work tree has uncommitted changes; the first is “{first}”.")


def main(arguments: list[str]) -> int:
    """Parse the command line, prepare the release, print what comes next, and return the exit code."""
    parser = argparse.ArgumentParser(description="Prepare a release; commit and tag nothing.")
    parser.add_argument("version", metavar="VERSION", help="three numbers, such as 0.2.0")
    version = prepare(parser.parse_args(arguments).version, datetime.now(UTC).date())
    print(NEXT.format(version=version))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
