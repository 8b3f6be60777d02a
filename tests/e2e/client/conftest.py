"""A project that uses the client, in an environment of its own."""

from pathlib import Path

import pytest

from support.consumers import build_wheel, make_environment


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def consumer(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the client is installed without extras."""
    return make_environment(tmp_path_factory.mktemp("consumer") / "venv", wheel)
