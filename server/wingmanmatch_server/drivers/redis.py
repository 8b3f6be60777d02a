"""Redis or Valkey: one server, one behind Sentinel, or a cluster."""

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple

import redis.asyncio as redis
from hiredis import pack_command
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.maint_notifications import MaintNotificationsConfig

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.coalescer import Coalescer
from wingmanmatch_server.drivers.redis_url import Kind, parse_redis_url

MAX_CONNECTIONS = 20
SPARE_CONNECTIONS = 4  # of the pool's, for those who take no turn
MAX_HELD = 3  # connections that are kept by those who send many commands at once
MOST_READS = 64  # in one round trip: hashes may be large, and those behind them wait
TIMEOUT = 5.0  # seconds to connect, and seconds to answer
POOL_TIMEOUT = 1.0
HEALTH_CHECK_INTERVAL = 15
RETRY_AFTER = 1.0  # seconds after which a caller may try again when Redis did not answer
SUBSCRIPTION_CHECK = 5.0  # seconds of silence after which a subscription is asked whether it lives

# How a server shows that it cannot serve now, besides breaking the connection. Any other error reply is about the call.
AWAY = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.RedisClusterException,
    exceptions.ClusterError,
    exceptions.MovedError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.NoPermissionError,
    OSError,
    TimeoutError,
)
MOVED = (exceptions.MovedError, exceptions.AskError, exceptions.TryAgainError)
AWAY_REPLIES = ("BUSY ", "LOADING", "MISCONF", "NOAUTH", "NOREPLICAS", "OOM", "READONLY", "UNBLOCKED")


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


class RedisServer:
    """What the areas ask of Redis. `client` is redis-py's own; `away` makes its errors the domain's.

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

    def slot_of(self, key: str) -> int:
        """Return the slot of a key; without a cluster all keys are in one."""
        return key_slot(key.encode()) if self.clustered else 0

    async def ping(self) -> float:
        """Return the seconds that a round trip takes. Raises errors.Unavailable."""
        started = time.perf_counter()
        with away():
            await self.client.ping()
        return time.perf_counter() - started

    async def run(self, script: Script, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run the script for each call, in their order, in one round trip; on a cluster in one to each node, at once.

        Return the replies; the place of a call that failed by itself holds ScriptFailed. Nothing is ever sent twice
        that may have run. Raises errors.Unavailable: then any of the calls may have run or not.
        """
        with away():
            run = self._run_by_node if self.clustered else self._run_pipelined
            replies = await run(script, calls)
        return [_reply(reply) for reply in replies]

    async def hmget(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Return fields of a hash. Those who ask at the same time share a round trip, except on a cluster.

        It takes no turn. Raises errors.Unavailable, and redis-py's ResponseError for a key of another type.
        """
        with away():
            try:
                reading = (
                    self.client.hmget(key, fields) if self.clustered else self._reads.submit(("HMGET", key, *fields))
                )
                found: list[bytes | None] = await reading
            except exceptions.ResponseError as error:
                _reply(error)
                raise
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
                _raise_lost_cancellation()
                confirmation = await subscription.get_message(timeout=self._timeout)
            if confirmation is None:
                raise unavailable()
            yield _messages(subscription)

    async def _run_by_node(self, script: Script, calls: Sequence[ScriptCall]) -> list[Any]:
        await self.client.initialize()
        places: dict[ClusterNode, list[int]] = {}
        for place, call in enumerate(calls):
            places.setdefault(self.client.get_node_from_key(call.keys[0]), []).append(place)
        replies: list[Any] = [None] * len(calls)

        async def run(node: ClusterNode, there: Sequence[int]) -> None:
            found = await self._run_pipelined(script, [calls[place] for place in there], node)
            for place, reply in zip(there, found, strict=True):
                # A slot that has moved: the call has not run, and redis-py follows it.
                moved = isinstance(reply, MOVED)
                replies[place] = await self._run_one(script, calls[place]) if moved else reply

        await asyncio.gather(*(run(node, there) for node, there in places.items()))
        return replies

    async def _run_one(self, script: Script, call: ScriptCall) -> Any:
        arguments = (len(call.keys), *call.keys, *call.arguments)
        try:
            return await self.client.eval(script.text, *arguments)
        except exceptions.ResponseError as error:
            return error

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
    url: str, *, max_connections: int = MAX_CONNECTIONS, seconds: float = TIMEOUT
) -> AsyncIterator[RedisServer]:
    """Open a pool on `url`, whose forms redis_url.py tells, without waiting for the server to answer.

    It has `seconds` to connect, and as many to answer. A command is sent once: whoever knows that it is safe to repeat
    may do so. Raises ValueError for a URL that is none.
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
    client, closing = _open(url, options)
    try:
        yield RedisServer(client, timeout=seconds, turns=max(1, max_connections - SPARE_CONNECTIONS))
    finally:
        for each in closing:
            await each.aclose()


def _open(url: str, options: dict[str, Any]) -> tuple[Any, Sequence[Any]]:
    named = parse_redis_url(url)
    if named.kind is Kind.CLUSTER:
        nodes = [ClusterNode(host, port) for host, port in named.places]
        cluster = redis.RedisCluster(startup_nodes=nodes, **named.options, **options)
        return cluster, [cluster]
    if named.kind is Kind.SENTINEL:
        asked = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "retry")}
        asked.update(named.sentinel_options)
        sentinel = Sentinel(named.places, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
        primary = sentinel.master_for(named.service, **named.options, **options)
        return primary, [primary, *sentinel.sentinels]
    pool = redis.BlockingConnectionPool.from_url(url, timeout=POOL_TIMEOUT, **options)
    client = redis.Redis.from_pool(pool)
    return client, [client]


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)
    except exceptions.ResponseError as error:
        return error


async def _messages(subscription: Any) -> AsyncIterator[bytes]:
    while True:
        with away():
            _raise_lost_cancellation()
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=SUBSCRIPTION_CHECK)
            if message is None:
                await subscription.ping()
        if message is not None and message["type"] == "message":
            yield message["data"]


def _raise_lost_cancellation() -> None:
    """Raise the CancelledError that redis-py swallows when it comes while a connection is being made."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _reply(reply: Any) -> Any:
    """Return the reply or what stands for its error. Raises errors.Unavailable for one that says that nothing works."""
    if not isinstance(reply, exceptions.ResponseError):
        return reply
    if isinstance(reply, AWAY) or str(reply).startswith(AWAY_REPLIES):
        raise unavailable() from reply
    return ScriptFailed(type(reply).__name__)


def unavailable() -> errors.Unavailable:
    """Return the error of a call that Redis did not answer."""
    return errors.Unavailable("REDIS_UNAVAILABLE", "Redis does not answer", retry_after=RETRY_AFTER)


class away:  # noqa: N801 - reads as a statement: `with away():`
    """Turn the errors by which redis-py says that the server is away into errors.Unavailable."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, AWAY):
            raise unavailable() from error
