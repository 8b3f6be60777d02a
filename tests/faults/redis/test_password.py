"""A new password for Redis, without a restart of the server."""

from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import grpc
import pytest
import redis.asyncio as redis

from support.limiters import Served, serving_limits
from support.server import roomy_limits
from support.session_load import Outcomes, calling, changes, create, eventually, read, write
from support.valkey import OwnValkey


async def test_password_is_read_again(dsn: str, valkey: OwnValkey, tmp_path: Path) -> None:
    """Connections made after a change authenticate by what the file says then, and no call fails over it."""
    file = tmp_path / "password"
    file.write_text("first\n")
    async with redis.from_url(valkey.url) as operator:
        await operator.config_set("requirepass", "first")
        async with serving(dsn, valkey.url, tmp_path, file) as served:
            token, outcomes = await create(served), Outcomes()
            await operator.config_set("requirepass", "second")
            file.write_text("second\n")
            async with calling(lambda: outcomes.of(write(served, token)), lambda: outcomes.of(read(served, token))):
                await eventually(lambda: at_least(outcomes, 100), 10)
                await drop_connections(operator)
                done = outcomes.counts["OK"]
                await eventually(lambda: at_least(outcomes, done + 100), 10)
            assert set(outcomes.counts) <= {"OK", "UNAVAILABLE REDIS_UNAVAILABLE"}  # under way when they were cut
            assert changes(served, "redis") in ({}, {"open": 1, "closed": 1})
        await operator.config_set("requirepass", "")


async def test_user_of_an_acl(dsn: str, valkey: OwnValkey, tmp_path: Path) -> None:
    """The user of the URL authenticates by the file; both passwords are good while one replaces the other."""
    file = tmp_path / "password"
    file.write_text("first")
    async with redis.from_url(valkey.url) as operator:
        await operator.execute_command("ACL", "SETUSER", "wingman", "on", ">first", "~*", "&*", "+@all")
        url = valkey.url.replace("unix://", "unix://wingman@")
        async with serving(dsn, url, tmp_path, file) as served:
            token = await create(served)
            await operator.execute_command("ACL", "SETUSER", "wingman", ">second")
            file.write_text("second")
            await operator.execute_command("ACL", "SETUSER", "wingman", "<first")
            await drop_connections(operator)
            await eventually(partial(works, served, token), 5)
            users = {client["user"] for client in await operator.client_list()}
            assert "wingman" in users


async def test_wrong_password_is_unavailable_until_it_is_put_right(
    dsn: str, valkey: OwnValkey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that does not have the password yet is no answer; it is noticed within seconds once it has."""
    file = tmp_path / "password"
    file.write_text("guess")
    async with redis.from_url(valkey.url) as operator:
        await operator.config_set("requirepass", "secret")
        async with serving(dsn, valkey.url, tmp_path, file) as served:
            outcomes = Outcomes()
            for _ in range(4):
                await outcomes.of(create(served))
            assert set(outcomes.counts) <= {"UNAVAILABLE REDIS_UNAVAILABLE", "UNAVAILABLE CIRCUIT_OPEN"}
            file.unlink()
            await outcomes.of(create(served))
            assert outcomes.counts["OK"] == 0
            file.write_text("secret")
            await eventually(lambda: outcomes.of(create(served)), 3)
        await operator.config_set("requirepass", "")
    assert "guess" not in capsys.readouterr().out


def serving(dsn: str, url: str, folder: Path, file: Path) -> AbstractAsyncContextManager[Served]:
    """Serve with a password in a file."""
    return serving_limits(dsn, url, folder, rate_limits_file=roomy_limits(folder), redis_password_file=file)


async def drop_connections(operator: "redis.Redis") -> None:
    """Close every connection but the operator's own."""
    await operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def at_least(outcomes: Outcomes, count: int) -> bool:
    """Return whether so many calls were served."""
    return outcomes.counts["OK"] >= count


async def works(served: Served, token: str) -> bool:
    """Return whether a write is served."""
    try:
        await write(served, token)
    except grpc.aio.AioRpcError:
        return False
    return True
