"""The nodes of a Redis cluster: who has a key, and what to do while keys move from one to another.

redis-py follows a moving slot too, but sends ASKING and the command over different connections, and closes all of them
after a few moved slots, under the calls of others.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio.cluster import ClusterNode

PATIENCE = 2.0  # seconds for which a key on the move is followed
PAUSE = 0.02  # seconds until a node is asked again whose keys are not all there yet; half of it is random
PRIMARY = "primary"
# A node replies with one of these to what it did not execute.
REDIRECTS = (exceptions.MovedError, exceptions.AskError, exceptions.TryAgainError)
Command = tuple[Any, ...]


class ClusterNodes:
    """Finds the nodes of keys, and follows keys that move."""

    def __init__(self, client: Any, send: Callable[[Sequence[Command], ClusterNode], Awaitable[list[Any]]]) -> None:
        """`client` is redis-py's; `send` sends commands over one connection and returns the replies, errors too."""
        self._client = client
        self._send = send

    async def places_by_node(self, keys: Sequence[str]) -> dict[ClusterNode, list[int]]:
        """Return where in `keys` those of each node stand."""
        await self._client.initialize()
        places: dict[ClusterNode, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(self._client.get_node_from_key(key), []).append(place)
        return places

    async def key_on_each(self, prefix: str) -> list[str]:
        """Return keys that begin with `prefix`, one on each primary."""
        await self._client.initialize()
        found: dict[str, str] = {}
        primaries = len(self._client.get_primaries())
        for number in range(100 * primaries):
            key = f"{prefix}:{number}"
            found.setdefault(self._client.get_node_from_key(key).name, key)
            if len(found) == primaries:
                break
        return list(found.values())

    async def follow(self, command: Command, key: str, reply: Any) -> Any:
        """Send a command to where a redirection leads, until a node executes it; return that reply.

        After PATIENCE seconds it is the last redirection: then nothing was executed.
        """
        until = time.monotonic() + PATIENCE
        while isinstance(reply, REDIRECTS) and time.monotonic() < until:
            if isinstance(reply, exceptions.MovedError):
                await self._client.nodes_manager.move_slot(reply)
                (reply,) = await self._send([command], self._client.get_node_from_key(key))
            elif isinstance(reply, exceptions.AskError):
                _, reply = await self._send([("ASKING",), command], self._node_at(reply.host, reply.port))
            else:
                await asyncio.sleep(PAUSE * (1 + random.random()) / 2)  # noqa: S311 - spreads callers, guards nothing
                (reply,) = await self._send([command], self._client.get_node_from_key(key))
        return reply

    def _node_at(self, host: str, port: int) -> ClusterNode:
        """Return the node at an address; one that has no slot yet is unknown to redis-py."""
        manager = self._client.nodes_manager
        known: ClusterNode | None = manager.get_node(host=host, port=port)
        if known is None:
            known = ClusterNode(host, port, PRIMARY, **manager.connection_kwargs)
            manager.set_nodes(manager.nodes_cache, {known.name: known})
        return known
