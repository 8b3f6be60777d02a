"""Redis or Valkey: one server, one behind Sentinel, or a cluster.

`redis_url.py` reads the URL, `redis_connections.py` and `redis_sentinel.py` make the connections, `redis_cluster.py`
sends to the nodes of a cluster, and `redis_errors.py` says what an error means.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import redis.asyncio as redis
from hiredis import pack_command
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.maint_notifications import MaintNotificationsConfig

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.coalescer import Coalescer
from wingmanmatch_server.drivers.redis_cluster import REDIRECTS, ClusterNodes
from wingmanmatch_server.drivers.redis_connections import PasswordFile, connect_to_primary, raise_lost_cancellation
from wingmanmatch_server.drivers.redis_errors import Meaning, away, is_stale, meaning_of, unavailable
from wingmanmatch_server.drivers.redis_sentinel import SentinelFollower, SentinelPool, Sentinels
from wingmanmatch_server.drivers.redis_url import Kind, parse_redis_url, without_account

__all__ = ["RedisServer", "Script", "ScriptCall", "ScriptFailed", "away", "open_redis", "unavailable"]

MAX_CONNECTIONS = 20
SPARE_CONNECTIONS = 4  # of the pool's, for those who take no turn
MAX_HELD = 3  # connections that are kept by those who send many commands at once
MOST_READS = 64  # in one round trip: hashes may be large, and those behind them wait
TIMEOUT = 5.0  # seconds to connect, and seconds to answer
POOL_TIMEOUT = 0.75  # seconds; less than a probe waits, which would take our own shortage for the server's absence
HEALTH_CHECK_INTERVAL = 15
SUBSCRIPTION_CHECK = 5.0  # seconds of silence after which a subscription is asked whether it lives
PROBE_TTL = 10_000  # milliseconds


class Script:
    """A Lua script, called by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class ScriptCall(NamedTuple):
    """One call of a script; on a cluster its keys share a slot."""

    keys: Sequence[str]
    arguments: Sequence[str | int]


class ScriptFailed(Exception):
    """The server ran the script and it failed, such as on a key of another type."""


PROBE = Script("return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])")
PING_KEY = "probe:ping"


class RedisServer:
    """What the areas ask of Redis. `client` is redis-py's own; `calling` makes its errors the domain's.

    `timeout` is for how many seconds an answer is waited for. Who may call as often as people do takes a `turn` for
    each call of `client` or `run`: a pool by itself lends to whoever asks when a connection comes back, so that others
    could wait for ever.
    """

    def __init__(self, client: Any, *, timeout: float, turns: int) -> None:
        self.client = client
        self.clustered = isinstance(client, redis.RedisCluster)
        self.turn = asyncio.Semaphore(turns)  # first come, first served
        self._timeout = timeout
        self._held: list[Any] = []
        self._reads: Coalescer[tuple[Any, ...], Any] = Coalescer(self._round_trip, largest=MOST_READS)
        self._nodes = ClusterNodes(client, self._round_trip) if self.clustered else None
        self._closing: asyncio.Task[None] | None = None

    def slot_of(self, key: str) -> int:
        """Return the slot of a key; without a cluster all keys are in one."""
        return key_slot(key.encode()) if self.clustered else 0

    def calling(self) -> away:
        """Return the context of calls of `client`. It raises errors.Unavailable for what is no answer."""
        return away(self._look_at)

    async def probe(self, key: str) -> None:
        """Write a key that expires, by a script as callers do. Raises errors.Unavailable unless that works.

        On a cluster it is written to every primary, at once, and one that takes it is enough.
        """
        replies = await self._write_probes(key)
        refused = [reply for reply in replies if isinstance(reply, Exception)]
        if len(refused) == len(replies):
            raise refused[0] if isinstance(refused[0], errors.Unavailable) else unavailable()

    async def ping(self) -> float:
        """Return the seconds that a write takes. Raises errors.Unavailable unless every primary takes it."""
        started = time.perf_counter()
        for reply in await self._write_probes(PING_KEY):
            if isinstance(reply, Exception):
                raise reply if isinstance(reply, errors.Unavailable) else unavailable()
        return time.perf_counter() - started

    async def run(self, script: Script, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run the script for each call, in their order, in one round trip; on a cluster in one to each node, at once.

        Return the replies; the place of a call that failed by itself holds ScriptFailed, and on a cluster that of a
        call whose node did not answer errors.Unavailable, where others did. Nothing is ever sent twice that may have
        run. Raises errors.Unavailable: then any of the calls may have run or not.
        """
        with self.calling():
            run = self._run_by_node if self.clustered else self._run_pipelined
            replies = await run(script, calls)
        return [self._judged(reply) for reply in replies]

    async def hmget(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Return fields of a hash. Those who ask at the same time share a round trip, except on a cluster.

        It takes no turn. Raises errors.Unavailable, and redis-py's ResponseError for a key of another type.
        """
        command = ("HMGET", key, *fields)
        with self.calling():
            found: list[bytes | None]
            found = await (self._send_by_key(command, key) if self.clustered else self._reads.submit(command))
            return found

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Subscribe for the length of the context; yield the messages from then on.

        The iterator raises errors.Unavailable when the connection is lost, and messages with it.
        """
        if self.clustered:
            with away():
                await self.client.initialize()  # a subscription does not do so by itself
        async with aclosing(self.client.pubsub()) as subscription:
            with away():
                await subscription.subscribe(channel)
                raise_lost_cancellation()
                confirmation = await subscription.get_message(timeout=self._timeout)
            if confirmation is None:
                raise unavailable()
            yield _messages(subscription)

    def drop_connections(self) -> None:
        """Close every connection: those made from now on may lead elsewhere. Calls under way are unavailable."""
        if not self.clustered:
            pool = self.client.connection_pool
            stale = [*pool._get_free_connections(), *pool._get_in_use_connections()]  # noqa: SLF001
            for connection in stale:
                connection.mark_for_reconnect()
            self._closing = asyncio.create_task(_disconnect(stale))

    def _look_at(self, error: BaseException) -> None:
        if is_stale(error):
            self.drop_connections()

    def _judged(self, reply: Any) -> Any:
        """Return the reply or what stands for its error. Raises errors.Unavailable for one that is no answer."""
        if not isinstance(reply, exceptions.RedisError):
            return reply
        meaning = meaning_of(reply)
        if meaning is Meaning.ANSWER:
            return ScriptFailed(type(reply).__name__)
        self._look_at(reply)
        raise unavailable(meaning) from reply

    async def _write_probes(self, key: str) -> list[Any]:
        with self.calling():
            keys = await self._nodes.key_on_each(key) if self._nodes else [key]
        return await self.run(PROBE, [ScriptCall([each], [PROBE_TTL]) for each in keys])

    async def _run_by_node(self, script: Script, calls: Sequence[ScriptCall]) -> list[Any]:
        assert self._nodes
        places = await self._nodes.places_by_node([call.keys[0] for call in calls])
        groups = [[calls[place] for place in there] for there in places.values()]
        runs = (self._run_on_node(script, group, node) for node, group in zip(places, groups, strict=True))
        answers = await asyncio.gather(*runs, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(failures) == len(answers):
            raise failures[0]
        replies: list[Any] = [None] * len(calls)
        for there, answer in zip(places.values(), answers, strict=True):
            each = [_of_one_node(answer)] * len(there) if isinstance(answer, BaseException) else answer
            for place, reply in zip(there, each, strict=True):
                replies[place] = reply
        return replies

    async def _run_on_node(self, script: Script, calls: Sequence[ScriptCall], node: ClusterNode) -> list[Any]:
        assert self._nodes
        replies = await self._run_pipelined(script, calls, node)
        for place, reply in enumerate(replies):
            if isinstance(reply, REDIRECTS):
                replies[place] = await self._nodes.follow(_eval(script, calls[place]), calls[place].keys[0], reply)
        return replies

    async def _send_by_key(self, command: tuple[Any, ...], key: str) -> Any:
        assert self._nodes
        (node,) = await self._nodes.places_by_node([key])
        (reply,) = await self._round_trip([command], node)
        if isinstance(reply, REDIRECTS):
            reply = await self._nodes.follow(command, key, reply)
        if isinstance(reply, exceptions.RedisError):
            raise reply
        return reply

    async def _run_pipelined(
        self, script: Script, calls: Sequence[ScriptCall], node: ClusterNode | None = None
    ) -> list[Any]:
        replies = await self._send(script, calls, node, load=False)
        unknown = [place for place, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
        if unknown:
            # The server forgot the script, so these have not run: the one case in which a call may be sent again.
            again = await self._send(script, [calls[place] for place in unknown], node, load=True)
            for place, reply in zip(unknown, again, strict=True):
                replies[place] = reply
        return replies

    async def _send(
        self, script: Script, calls: Sequence[ScriptCall], node: ClusterNode | None, *, load: bool
    ) -> list[Any]:
        commands = []
        for call in calls:
            name, body = ("EVAL", script.text) if load else ("EVALSHA", script.sha)
            commands.append((name, body, len(call.keys), *call.keys, *call.arguments))
            load = False
        return await self._round_trip(commands, node)

    async def _round_trip(self, commands: Sequence[tuple[Any, ...]], node: ClusterNode | None = None) -> list[Any]:
        packed = list(map(pack_command, commands))
        lent = self._held_connection() if node is None else self._connection_to(node)
        async with asyncio.timeout(self._timeout), lent as connection:
            await connection.send_packed_command(packed, check_health=False)
            return [await _read(connection) for _ in packed]

    @asynccontextmanager
    async def _connection_to(self, node: ClusterNode) -> AsyncIterator[Any]:
        connection = node.acquire_connection()
        try:
            await node.disconnect_if_needed(connection)
            yield connection
        except BaseException:
            # As redis-py does when a node does not answer: ask anew which node has which slots.
            self.client._initialize = True  # noqa: SLF001
            raise
        finally:
            node.release(connection)

    @asynccontextmanager
    async def _held_connection(self) -> AsyncIterator[Any]:
        """Lend a connection that the pool gave once and need not be asked for again.

        redis-py's pipelines and its pool do so much around each round trip that it shows in every limited call.
        """
        pool = self.client.connection_pool
        connection = self._held.pop() if self._held else await pool.get_connection()
        connection.socket_timeout = None  # one timeout for all replies, where redis-py sets one for each
        try:
            if connection.should_reconnect():
                await connection.disconnect(nowait=True)
            await pool.ensure_connection(connection)
            yield connection
        finally:
            if len(self._held) < MAX_HELD:
                self._held.append(connection)
            else:
                connection.socket_timeout = self._timeout
                await pool.release(connection)


@asynccontextmanager
async def open_redis(
    url: str,
    *,
    max_connections: int = MAX_CONNECTIONS,
    seconds: float = TIMEOUT,
    password_file: Path | None = None,
) -> AsyncIterator[RedisServer]:
    """Open a pool on `url`, whose forms redis_url.py tells, without waiting for the server to answer.

    It has `seconds` to connect, and as many to answer. The password is that of the URL, or is read again from
    `password_file` for each connection. A command is sent once: whoever knows that it is safe to repeat may do so.
    Raises ValueError for a URL that is none, or that has a password beside the file.
    """
    options: dict[str, Any] = {
        "max_connections": max_connections,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "health_check_interval": HEALTH_CHECK_INTERVAL,
        # The pool replaces connections that the server closed before it lends them, so this costs nothing.
        "retry": Retry(NoBackoff(), 0),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "driver_info": None,
    }
    url, username = (url, None) if password_file is None else without_account(url)
    if password_file is not None:
        options["credential_provider"] = PasswordFile(password_file, username)
    opened = _open(url, options)
    server = RedisServer(opened.client, timeout=seconds, turns=max(1, max_connections - SPARE_CONNECTIONS))
    followers = opened.follow(server.drop_connections)
    try:
        yield server
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        for each in opened.closing:
            await each.aclose()


class _Opened(NamedTuple):
    """A client, what is to be closed, and what starts to follow the changes of its primary."""

    client: Any
    closing: Sequence[Any]
    follow: Callable[[Callable[[], None]], Sequence["asyncio.Task[None]"]] = lambda _on_change: ()


def _open(url: str, options: dict[str, Any]) -> _Opened:
    named = parse_redis_url(url)
    if named.kind is Kind.CLUSTER:
        nodes = [ClusterNode(host, port) for host, port in named.places]
        # Otherwise every few moved slots close all connections, under the calls of others.
        cluster = redis.RedisCluster(startup_nodes=nodes, reinitialize_steps=0, **named.options, **options)
        return _Opened(cluster, [cluster])
    options |= {"redis_connect_func": connect_to_primary, "timeout": POOL_TIMEOUT}
    if named.kind is Kind.SENTINEL:
        asked = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "retry")}
        asked.update(named.sentinel_options)
        sentinels = Sentinels(named.places, sentinel_kwargs=asked)
        primary = sentinels.master_for(named.service, connection_pool_class=SentinelPool, **named.options, **options)
        follow = partial(_follow, sentinels, named.service, primary.connection_pool)
        return _Opened(primary, [primary, *sentinels.sentinels], follow)
    client = redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(url, **options))
    return _Opened(client, [client])


def _follow(
    sentinels: Sentinels, service: str, pool: SentinelPool, on_change: Callable[[], None]
) -> Sequence["asyncio.Task[None]"]:
    return SentinelFollower(sentinels, service, pool, on_change).start()


async def _disconnect(connections: Sequence[Any]) -> None:
    """Close connections, those that are lent too, but none that was made anew meanwhile."""
    closing = (each.disconnect() for each in connections if each.should_reconnect())
    await asyncio.gather(*closing, return_exceptions=True)


def _eval(script: Script, call: ScriptCall) -> tuple[Any, ...]:
    """Return the command that runs a script on a node that may not know it."""
    return ("EVAL", script.text, len(call.keys), *call.keys, *call.arguments)


def _of_one_node(error: BaseException) -> BaseException:
    """Return what stands for a call whose node failed, where others answered. Raises what is no failure of a node."""
    meaning = meaning_of(error)
    if meaning is Meaning.ANSWER:
        raise error
    return unavailable(meaning)


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)
    except exceptions.ResponseError as error:
        return error
    except (exceptions.BusyLoadingError, exceptions.AuthenticationError) as error:
        return error  # replies too, whose classes are those of lost connections


async def _messages(subscription: Any) -> AsyncIterator[bytes]:
    while True:
        with away():
            raise_lost_cancellation()
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=SUBSCRIPTION_CHECK)
            if message is None:
                await subscription.ping()
        if message is not None and message["type"] == "message":
            yield message["data"]
