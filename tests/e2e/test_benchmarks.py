"""Benchmarks that need nothing but the engines run as they are written."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_sessions() -> None:
    """Each kind has a row for each number of callers, beside the bare GET."""
    command = [sys.executable, BENCHMARKS / "session.py", "--calls", "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [line.count("x GET") for line in done.stdout.splitlines()] == [1] * 6
