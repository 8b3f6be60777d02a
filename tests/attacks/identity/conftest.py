"""A whole server with credentials of every kind that need no TLS, at the shipped values but for its rate limits.

Those would refuse one attacker's many attempts for their number, whatever became of each.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.credentials import KEY, SETTINGS, bearer
from support.databases import fresh_database
from support.projects import Project
from support.requests import TIMEOUT, profile
from support.server import roomy_limits, serving_application, supabase_settings
from support.stubs import Stubs
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


class Target:
    """The server under attack, a person who has a profile there, and the project that signs its users' tokens."""

    def __init__(self, client: Stubs, project: Project, user_id: str, keys_file: Path) -> None:
        self.client = client
        self.project = project
        self.user_id = user_id
        self.keys_file = keys_file

    def watch(self, credential: str) -> Any:
        """Open a stream of the person's matches."""
        request = matching_service_pb2.WatchMatchesRequest(user_id=self.user_id)
        return self.client.matching.WatchMatches(request, timeout=200, metadata=bearer(credential))


@pytest.fixture(scope="package")
async def target(
    admin_dsn: str, engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Target]:
    """Serve, with a project whose keys it follows and a file of API keys."""
    folder = tmp_path_factory.mktemp("identity")
    keys_file = folder / "keys"
    keys_file.write_text("# none yet\n")
    async with Project.serving() as project, fresh_database(admin_dsn) as dsn:
        settings = SETTINGS | supabase_settings(project.url) | {"api_keys_file": keys_file}
        settings |= {"rate_limits_file": roomy_limits(folder)}
        async with serving_application(dsn, engines.redis_url, folder, **settings) as client:
            person = profile()
            request = matching_service_pb2.UpsertProfileRequest(profile=person)
            await client.matching.UpsertProfile(request, timeout=TIMEOUT, metadata=bearer(KEY))
            yield Target(client, project, person.user_id, keys_file)
