"""The demo against a server whose database is elsewhere, so that nobody can let days pass."""

import io
from pathlib import Path

from support.databases import fresh_database
from support.server import roomy_limits
from wingmanmatch_server.bootstrap import open_application
from wingmanmatch_server.demo import play
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.serving import listening
from wingmanmatch_server.settings import Settings


async def test_story_ends_before_the_meetup(admin_dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """It plays as far as it truthfully can, and says why it stops there."""
    said: list[str] = []
    # Other tests call as the same caller, on the same Redis.
    settings = Settings(_env_file=None, data_dir=tmp_path, rate_limits_file=roomy_limits(tmp_path))
    async with (
        fresh_database(admin_dsn) as dsn,
        open_application(settings, dsn, engines.redis_url, io.BytesIO()) as server,
        listening(server, "127.0.0.1:0") as (_, port),
    ):
        await play(f"127.0.0.1:{port}", tmp_path, said.append)
    story = "\n".join(said)
    assert "The emails about it wait two minutes" in story
    assert "The clock" not in story
    assert said[-1].startswith("\nDone for now")
