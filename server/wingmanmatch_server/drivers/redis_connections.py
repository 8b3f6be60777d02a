"""How connections to Redis are made: by whom they are authenticated, and that they lead to a primary."""

import asyncio
from pathlib import Path
from typing import Any

from redis import exceptions
from redis.credentials import CredentialProvider

REPLICAS = ("replica", "slave")
IS_REPLICA = "the server is a replica"


class PasswordFile(CredentialProvider):
    """The password in a file, read again for every new connection."""

    def __init__(self, path: Path, username: str | None = None) -> None:
        self._path = path
        self._username = username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what to authenticate by. Raises redis-py's AuthenticationError for a file that cannot be read."""
        try:
            # Read on the event loop: a connection that is cancelled here would be kept without being authenticated.
            password = self._path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise exceptions.AuthenticationError("the file of the password cannot be read") from error
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Do as `get_credentials` does."""
        return self.get_credentials()


async def connect_to_primary(connection: Any) -> None:
    """Greet the server as redis-py does. Raises redis-py's ConnectionError if it says that it is a replica.

    That is in its reply to HELLO, so it costs no round trip, but redis-py drops that reply.
    """
    replies: list[Any] = []
    read = connection.read_response

    async def remember(*arguments: Any, **options: Any) -> Any:
        replies.append(await read(*arguments, **options))
        return replies[-1]

    connection.read_response = remember
    try:
        await connection.on_connect()
    finally:
        del connection.read_response
    roles = [_text(reply.get(b"role", reply.get("role"))) for reply in replies if isinstance(reply, dict)]
    if any(role in REPLICAS for role in roles):
        raise exceptions.ConnectionError(IS_REPLICA)


def is_replica(error: exceptions.ConnectionError) -> bool:
    """Return whether no connection was made because the server is a replica."""
    return str(error) == IS_REPLICA


def raise_lost_cancellation() -> None:
    """Raise the CancelledError that redis-py swallows when it comes while a connection is being made."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
