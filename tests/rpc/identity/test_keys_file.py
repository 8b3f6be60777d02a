"""Keys in a file, which a running server follows."""

import asyncio
from pathlib import Path

from support.credentials import bearer
from support.edge import MATCHING, Edge, channel_to, failure_of
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.bootstrap.identity import open_identity
from wingmanmatch_server.identity.api_keys import create_key
from wingmanmatch_server.interceptors.door import guarded_handler
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.health import Health

OLD, OLD_ENTRY = create_key("booking", ["matching"], "o" * 43)
NEW, NEW_ENTRY = create_key("booking", ["matching"], "n" * 43)


def write(path: Path, *lines: str) -> None:
    """Put a file in the place of the one that is there, as a careful program does."""
    other = path.with_suffix(".new")
    other.write_text("\n".join(lines))
    other.replace(path)


async def test_rotation_without_restart(tmp_path: Path) -> None:
    """First the old key opens, then both, then the new one alone."""
    path = tmp_path / "keys"
    write(path, OLD_ENTRY.line())
    edge = Edge()
    async with open_identity(Settings(_env_file=None, api_keys_file=path)) as identity:
        handler = guarded_handler(MATCHING, None, edge.replaced(identity), identity)
        async with channel_to(Application([handler], Health(()), edge.registry)) as channel:
            call = channel.unary_unary(f"/{MATCHING.full_name}/GetProfile")

            async def opens(key: str) -> bool:
                failure = await failure_of(call(b"", timeout=5, metadata=bearer(key)))
                return failure.reason != "CREDENTIAL_INVALID"

            async def until(old: bool, new: bool) -> None:  # noqa: FBT001
                async with asyncio.timeout(10):
                    while (await opens(OLD), await opens(NEW)) != (old, new):
                        await asyncio.sleep(0.05)

            await until(old=True, new=False)
            write(path, OLD_ENTRY.line(), NEW_ENTRY.line())
            await until(old=True, new=True)
            write(path, "# the old key is gone", NEW_ENTRY.line())
            await until(old=False, new=True)
