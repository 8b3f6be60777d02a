"""What the tests of supabase/ share."""

import shutil
from pathlib import Path

import pytest

from support.supabase_copy import SUPABASE


@pytest.fixture
def supabase(tmp_path: Path) -> Path:
    """A copy of the folder."""
    return Path(shutil.copytree(SUPABASE, tmp_path / "supabase", ignore=shutil.ignore_patterns("__pycache__")))
