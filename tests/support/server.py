"""The whole server on a database of its own, as a caller meets it."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from wingmanmatch_client import Client, connect
from wingmanmatch_server.bootstrap import open_application
from wingmanmatch_server.serving import listening
from wingmanmatch_server.settings import Settings


@asynccontextmanager
async def serving_application(database_dsn: str, data_dir: Path) -> AsyncIterator[Client]:
    """Serve the application on a port of its own and yield a client of it."""
    settings = Settings(_env_file=None, data_dir=data_dir)
    async with (
        open_application(settings, database_dsn, io.BytesIO()) as application,
        listening(application, "127.0.0.1:0") as (_, port),
        connect(f"127.0.0.1:{port}") as client,
    ):
        yield client
