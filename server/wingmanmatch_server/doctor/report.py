"""What the doctor found, as a person reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SHOWN_CHARACTERS = 4


class Verdict(StrEnum):
    """How it stands with one thing."""

    GOOD = "ok"
    NOTE = "note"
    FAILED = "FAIL"
    UNSET = "unset"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what is the case, and what to do. Never holds a secret."""

    subject: str
    verdict: Verdict
    said: str
    advice: str = ""


def failed(findings: Sequence[Finding]) -> bool:
    """Return whether something must be put right before the server can do its work."""
    return any(finding.verdict is Verdict.FAILED for finding in findings)


def table(findings: Sequence[Finding]) -> str:
    """Return the findings in aligned columns, what to do below each, and a last line that sums up."""
    width = max(len(finding.subject) for finding in findings)
    lines = [line for finding in findings for line in _lines(finding, width)]
    count = sum(finding.verdict is Verdict.FAILED for finding in findings)
    return "\n".join([*lines, "", f"{count} to put right." if count else "Nothing to put right."])


def masked(secret: str) -> str:
    """Return what may be shown of a secret: enough to tell which one it is."""
    return f"{secret[:SHOWN_CHARACTERS]}…"


def _lines(finding: Finding, width: int) -> list[str]:
    line = f"{finding.verdict:<5}  {finding.subject:<{width}}  {finding.said}"
    return [line, f"{'':<5}  {'':<{width}}  → {finding.advice}"] if finding.advice else [line]
