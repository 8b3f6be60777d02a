"""Hears NOTIFY on one connection, whatever the number of channels, and replaces it when it is lost."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

log = structlog.get_logger(__name__)

HEARTBEAT = 30.0
RECONNECT_DELAY = 0.5
Callback = Callable[[str | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class Follower:
    """Somebody who follows a channel."""

    channel: str
    callback: Callback


class Listener:
    """Tells those who follow a channel of each NOTIFY, and of each new connection: before it they may have missed some.

    A connection on which nothing happens can be dropped by what lies between without a word to either end. So it is
    asked for a sign of life now and then.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        away: tuple[type[Exception], ...],
        *,
        heartbeat: float = HEARTBEAT,
        reconnect_delay: float = RECONNECT_DELAY,
    ) -> None:
        """`connect` returns a connection of asyncpg whose commands time out; `away` is how a lost one shows itself."""
        self._connect = connect
        self._away = away
        self._heartbeat = heartbeat
        self._reconnect_delay = reconnect_delay
        self._followers: list[Follower] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: Any = None
        self._failing = False

    def follow(self, channel: str, callback: Callback) -> Callable[[], Awaitable[None]]:
        """Call `callback` from now on as `Database.follow` says, and return what ends it."""
        follower = Follower(channel, callback)
        self._followers.append(follower)
        self._wake.set()
        self._task = self._task or asyncio.create_task(self._keep_listening())

        async def stop() -> None:
            self._followers.remove(follower)
            if not self._followers:
                await self._end()

        return stop

    def reconnect(self) -> None:
        """Replace the connection: a new one may lead to another server."""
        if self._connection is not None:
            self._connection.terminate()
            self._wake.set()

    async def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen_until_lost()
            except (asyncpg.PostgresError, *self._away) as error:
                if not self._failing:  # logged once an outage
                    log.warning("listen_failed", error=type(error).__name__)
                self._failing = True
            await asyncio.sleep(self._reconnect_delay)

    async def _listen_until_lost(self) -> None:
        connection = self._connection = await self._connect()
        try:
            connection.add_termination_listener(lambda _: self._wake.set())
            heard: list[Follower] = []
            while not connection.is_closed():
                self._wake.clear()
                for follower in [each for each in self._followers if each not in heard]:
                    await self._hear(connection, follower)
                    heard.append(follower)
                self._failing = False
                if not await self._woken():
                    await connection.execute("select")
        finally:
            self._connection = None
            connection.terminate()

    async def _hear(self, connection: Any, follower: Follower) -> None:
        def notified(_connection: object, _pid: object, _channel: object, payload: str) -> None:
            if follower in self._followers:
                follower.callback(payload)

        await connection.add_listener(follower.channel, notified)
        follower.callback(None)

    async def _woken(self) -> bool:
        """Wait for something to do, and return False if nothing came up for as long as a heartbeat."""
        try:
            async with asyncio.timeout(self._heartbeat):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True
