"""CHANGELOG.md: which versions are released, and the changes of its text that a command makes."""

import re
import textwrap
from datetime import date
from pathlib import Path
from typing import NamedTuple, Self

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"
HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
UNRELEASED = re.compile(r"^## Unreleased$", re.MULTILINE)
RELEASE = re.compile(r"\[(.+)\] - [0-9]{4}-[0-9]{2}-[0-9]{2}")
GROUP = re.compile(r"^(?=### )", re.MULTILINE)
ENTRY = re.compile(r"^- ", re.MULTILINE)
NUMBER = "(0|[1-9][0-9]*)"
VERSION = re.compile(rf"{NUMBER}\.{NUMBER}\.{NUMBER}")
COLUMNS = 118


class Version(NamedTuple):
    """A version of the product: three numbers, compared one after the other."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the version that `text` states as `x.y.z`; None if it does not."""
        found = VERSION.fullmatch(text)
        return cls(*map(int, found.groups())) if found else None

    def __str__(self) -> str:
        """Return `x.y.z`."""
        return f"{self.major}.{self.minor}.{self.patch}"


class Section(NamedTuple):
    """What the changelog says of one version; `version` is None for what is unreleased."""

    version: Version | None
    text: str

    def has_entries(self) -> bool:
        """Whether the section lists a change."""
        return ENTRY.search(self.text) is not None


def sections(changelog: str) -> list[Section]:
    """Return the sections, newest first. Raise SystemExit unless only the first is Unreleased."""
    _, *parts = HEADING.split(changelog)
    titles, texts = parts[::2], parts[1::2]
    if titles[:1] != ["Unreleased"]:
        raise SystemExit("CHANGELOG.md must begin with the section “## Unreleased”.")
    return [Section(None, texts[0]), *map(_release, titles[1:], texts[1:])]


def _release(title: str, text: str) -> Section:
    found = RELEASE.fullmatch(title)
    version = Version.parse(found[1]) if found else None
    if version is None:
        raise SystemExit(f"CHANGELOG.md has the heading “## {title}”, which must read “## [x.y.z] - YYYY-MM-DD”.")
    return Section(version, text)


def latest_release(changelog: str) -> Version | None:
    """Return the version that was released last; None before the first release. Raises as `sections`."""
    return next((section.version for section in sections(changelog) if section.version), None)


def add_entry(changelog: str, group: str, entry: str) -> str:
    """Return the changelog with `entry` as the last one of Unreleased's `### group`, a new group if it has none."""
    start, end = _unreleased(changelog)
    groups = [text.strip("\n") for text in GROUP.split(changelog[start:end]) if text.strip("\n")]
    heading = f"### {group}"
    if heading not in (titles := [text.splitlines()[0] for text in groups]):
        titles.append(heading)
        groups.append(f"{heading}\n")
    groups[titles.index(heading)] += f"\n{_bullet(entry)}"
    unreleased = "\n\n" + "\n\n".join(groups) + "\n"
    return changelog[:start] + unreleased + ("\n" + changelog[end:] if changelog[end:] else "")


def stamp(changelog: str, version: Version, day: date) -> str:
    """Return the changelog with what was Unreleased as the release `version` of `day`, below an empty Unreleased."""
    return UNRELEASED.sub(f"## Unreleased\n\n## [{version}] - {day.isoformat()}", changelog, count=1)


def _unreleased(changelog: str) -> tuple[int, int]:
    """Return where the text of Unreleased starts and where it ends."""
    first, *later = HEADING.finditer(changelog)
    return first.end(), later[0].start() if later else len(changelog)


def _bullet(entry: str) -> str:
    return textwrap.fill(
        entry, COLUMNS, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
