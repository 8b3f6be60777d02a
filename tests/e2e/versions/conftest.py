"""The previous version, laid out once."""

import os

import pytest

from support.previous import NAMED_IN, HistoryMissing, PreviousVersion, lay_out, previous_commit, require_history


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> PreviousVersion:
    """The version that tests/previous_version names."""
    try:
        return lay_out(previous_commit(NAMED_IN.read_text("utf-8")), tmp_path_factory.mktemp("previous"))
    except HistoryMissing as missing:
        require_history(missing, ci=os.environ.get("CI") == "true")
        raise
