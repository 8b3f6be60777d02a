"""The whole server on a database of its own, as a caller meets it."""

import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from support.postgrest import ANONYMOUS_KEY, SERVICE_KEY, serving_rest
from support.stubs import Stubs, open_stubs
from wingmanmatch_server.bootstrap import open_application
from wingmanmatch_server.serving import listening
from wingmanmatch_server.settings import Settings


@asynccontextmanager
async def serving_application(
    database_dsn: str | None, redis_url: str, data_dir: Path, *, transport: str = "postgres", **settings: Any
) -> AsyncIterator[Stubs]:
    """Serve the application on a port of its own and yield a client of it.

    It reaches its database over PostgreSQL's protocol, or with `transport="rest"` as it reaches Supabase. Without a
    DSN it is the settings that say where Supabase is.
    """
    async with AsyncExitStack() as stack:
        database_url = database_dsn
        if database_dsn and transport == "rest":
            rest = await stack.enter_async_context(serving_rest(database_dsn))
            settings |= supabase_settings(rest.url)
            database_url = None
        given = Settings(_env_file=None, data_dir=data_dir, **settings)
        application = await stack.enter_async_context(open_application(given, database_url, redis_url, io.BytesIO()))
        _, port = await stack.enter_async_context(listening(application, "127.0.0.1:0"))
        yield await stack.enter_async_context(open_stubs(f"127.0.0.1:{port}"))


def supabase_settings(url: str) -> dict[str, str]:
    """Return the settings of a server that reaches its database at `url`."""
    return {"supabase_url": url, "supabase_service_key": SERVICE_KEY, "supabase_anon_key": ANONYMOUS_KEY}


def roomy_limits(folder: Path, capacity: int = 10_000) -> Path:
    """Return a file of rate limits under which one person may make so many calls: as a module of tests does."""
    file = folder / "rate-limits.toml"
    names = ("public_api", "auth_endpoint", "match_request", "email_send", "challenge_submit")
    daily = ("profile_relocation", "candidate_pages")
    lines = [f"[policies.{name}]\ncapacity = {capacity}\n" for name in names]
    lines += [f"[policies.{name}]\ncapacity = {capacity}\nrefill_per_second = 1\n" for name in daily]
    file.write_text("".join(lines))
    return file
