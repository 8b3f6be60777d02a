"""Fixtures for pytest: put `pytest_plugins = ["wingmanmatch_client.pytest_plugin"]` into the topmost conftest.py."""

from collections.abc import Iterator, Mapping

import pytest

from wingmanmatch_client.testing import Server, serving


@pytest.fixture(scope="session")
def wingmanmatch_settings() -> Mapping[str, object]:
    """The settings of `wingmanmatch_server`, to be overridden."""
    return {}


@pytest.fixture(scope="session")
def wingmanmatch_server(wingmanmatch_settings: Mapping[str, object]) -> Iterator[Server]:
    """A server that all tests of a run share: `connect(wingmanmatch_server.target)`."""
    with serving(**wingmanmatch_settings) as server:
        yield server
