"""What the client offers to the tests of those who use it."""

import subprocess
import sys
from pathlib import Path

import pytest

from wingmanmatch_client.testing import ServerNotStarted, serving

CONFTEST = """
import pytest

pytest_plugins = ["wingmanmatch_client.pytest_plugin"]


@pytest.fixture(scope="session")
def wingmanmatch_settings():
    return {"max_daily_matches": 1}
"""
TESTS = """
import uuid
import pytest
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_client import ResourceExhausted, connect_sync


def join(client, name):
    user_id = str(uuid.uuid4())
    client.matching.upsert_profile(profile=matching_pb2.Profile(
        user_id=user_id, email="somebody@example.org", first_name=name, location={"latitude": 1, "longitude": 2},
        experience_level=matching_pb2.EXPERIENCE_LEVEL_BEGINNER,
        confidence_archetype=matching_pb2.CONFIDENCE_ARCHETYPE_GHOST,
    ))
    return user_id


def test_a_match_a_day(wingmanmatch_server):
    with connect_sync(wingmanmatch_server.target) as client:
        ada, ben = join(client, "Ada"), join(client, "Ben")
        match = client.matching.request_match(user_id=ada, candidate_user_id=ben).match
        client.matching.cancel_match(match_id=match.id, user_id=ada)
        with pytest.raises(ResourceExhausted):
            client.matching.request_match(user_id=ada)


def test_the_same_server(wingmanmatch_server):
    assert wingmanmatch_server.data_dir.is_dir()
    print("data in", wingmanmatch_server.data_dir)
"""


def test_fixture_in_a_project_of_others(tmp_path: Path) -> None:
    """A project's tests get a real server with their settings, once, whatever the environment says; nothing is left."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_matches.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    environment = {"PATH": "/usr/bin:/bin", "DATABASE_URL": "postgresql://nowhere/", "MAX_DAILY_MATCHES": "9"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout
    (data,) = (Path(line.partition("data in ")[2]) for line in run.stdout.splitlines() if "data in " in line)
    assert not data.exists()


def test_server_that_cannot_start_says_why() -> None:
    """A mistake in the settings is told as the server tells it."""
    with pytest.raises(ServerNotStarted, match="MAX_DAILY_MATCHES"), serving(max_daily_matches="many"):
        pytest.fail("it started")
