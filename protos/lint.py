"""Check the protos of this folder with buf, offline.

    python protos/lint.py

They must keep buf's rules and its format, and serve callers that were built from `baseline.binpb`.
"""

import sys
import tempfile
from pathlib import Path

import baseline
from changelog import CHANGELOG
from workspace import buf, lay_out, our_paths


def check_style(workspace: Path) -> bool:
    """Lint the protos laid out in `workspace` and check their format; return whether both passed."""
    return all([buf(workspace, "lint"), buf(workspace, "format", "--diff", "--exit-code", *our_paths())])


def check_compatibility(workspace: Path) -> bool:
    """Return whether the protos laid out in `workspace` serve callers of the baseline.

    Raise SystemExit with the remedy if the baseline cannot be used.
    """
    changelog = CHANGELOG.read_text("utf-8")
    baseline.check(changelog)
    if buf(workspace, "breaking", "--against", str(baseline.IMAGE)):
        return True
    alternative = "" if baseline.stable(changelog) else ", or record the change with `make baseline REASON=…`"
    print(f"Callers of the protos in {baseline.NAME} would break: only add to them{alternative}.", file=sys.stderr)
    return False


def main() -> int:
    """Run the checks and return the exit code. Raise SystemExit if the baseline cannot be used."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "protos"
        lay_out(workspace)
        passed = all([check_style(workspace), check_compatibility(workspace)])
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
