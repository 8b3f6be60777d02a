"""A server as a person starts it, shared by the tests that only talk to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.served import Served, served


@pytest.fixture(scope="session")
def served_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the shared server."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def server(served_data_dir: Path) -> Iterator[Served]:
    """A server started by the command."""
    with served(served_data_dir) as server:
        yield server
