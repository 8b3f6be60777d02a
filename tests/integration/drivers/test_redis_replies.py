"""What Redis can say, reply by reply, and what it means: on real servers where it can be caused, and by raw replies."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from redis import exceptions

from support.redis_cluster import free_ports, redis_cluster
from support.redis_sentinel import start
from support.replying_server import replying_server
from support.valkey import OwnValkey, oldest_program, own_valkey
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import RedisServer, Script, ScriptCall, ScriptFailed, open_redis
from wingmanmatch_server.drivers.redis_errors import REPLIES, Meaning
from wingmanmatch_server.errors import Evidence

SET = Script("return redis.call('SET', KEYS[1], ARGV[1])")
GET = Script("return redis.call('GET', KEYS[1])")
FOREVER = "while true do end"
OF = {
    Meaning.UNAVAILABLE: Evidence.ABSENT,
    Meaning.REFUSES_WRITES: Evidence.REFUSES_WRITES,
    Meaning.BUSY: Evidence.NONE,
}
ANSWERS = (
    "WRONGTYPE Operation against a key",
    "NOSCRIPT No matching script.",
    "ERR wrong",
    "EXECABORT no",
    "NOPROTO x",
)


@pytest.fixture(params=["Valkey", "Redis 6.2"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OwnValkey]:
    """A server of the test's own, the newest and the oldest that we work with."""
    program = oldest_program() if request.param == "Redis 6.2" else None
    if request.param == "Redis 6.2" and program is None:
        pytest.skip("there is no Redis 6.2 for this machine")
    with own_valkey(tmp_path, program) as server:
        yield server


async def evidence_of(redis: RedisServer, script: Script = SET) -> Evidence | str:
    """Return what a write that fails shows: evidence, or the class of an error that is an answer."""
    try:
        (reply,) = await redis.run(script, [ScriptCall(["key"], ["x" * 100])])
    except errors.Unavailable as error:
        return error.evidence
    assert isinstance(reply, ScriptFailed), reply
    return str(reply)


@asynccontextmanager
async def configured(server: OwnValkey, **options: Any) -> AsyncIterator[RedisServer]:
    """Open the server, so configured that it is in trouble."""
    async with redis.from_url(server.url) as operator, open_redis(server.url, seconds=2) as opened:
        await operator.set("key", "value")
        for name, value in options.items():
            await operator.config_set(name.replace("_", "-"), value)
        yield opened


async def test_out_of_memory(server: OwnValkey) -> None:
    """OOM, inside a script too: it refuses writes."""
    async with configured(server, maxmemory_policy="noeviction", maxmemory=1) as opened:
        assert await evidence_of(opened) is Evidence.REFUSES_WRITES


async def test_cannot_save(server: OwnValkey, tmp_path: Path) -> None:
    """MISCONF: it refuses writes because it could not save."""
    (tmp_path / "dump.rdb").mkdir()
    async with configured(server, save="3600 1") as opened:
        await opened.client.bgsave()
        async with asyncio.timeout(10):
            while (await opened.client.info("persistence"))["rdb_last_bgsave_status"] != "err":
                await asyncio.sleep(0.01)
        assert await evidence_of(opened) is Evidence.REFUSES_WRITES


async def test_replica(server: OwnValkey) -> None:
    """READONLY: connections of before it became a replica are closed, and new ones refuse to lead to one."""
    async with redis.from_url(server.url) as operator, open_redis(server.url, seconds=2) as opened:
        await opened.probe("key")
        await operator.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert await evidence_of(opened) is Evidence.REFUSES_WRITES
        assert await evidence_of(opened) is Evidence.ABSENT
        await operator.execute_command("REPLICAOF", "NO", "ONE")
        await opened.probe("key")


async def test_replica_without_its_primary(server: OwnValkey) -> None:
    """MASTERDOWN: a replica that may not serve what may be old."""
    async with configured(server, replica_serve_stale_data="no") as opened:
        await opened.probe("key")
        async with redis.from_url(server.url) as operator:
            await operator.execute_command("REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(errors.Unavailable) as raised:
                await opened.hmget("key", ["field"])
            assert raised.value.evidence is Evidence.ABSENT
            await operator.execute_command("REPLICAOF", "NO", "ONE")
        await opened.probe("key")


async def test_too_few_replicas(tmp_path: Path) -> None:
    """NOREPLICAS: it refuses writes. Redis 6.2 does not look at that inside scripts."""
    with own_valkey(tmp_path) as server:
        async with configured(server, min_replicas_to_write=1) as opened:
            assert await evidence_of(opened) is Evidence.REFUSES_WRITES


async def test_password_wanted(server: OwnValkey) -> None:
    """NOAUTH, WRONGPASS: unavailable, and connections of before go on."""
    async with configured(server, requirepass="secret") as opened:
        await opened.client.connection_pool.disconnect()
        assert await evidence_of(opened) is Evidence.ABSENT
        async with open_redis(server.url.replace("unix://", "unix://:wrong@"), seconds=2) as wrong:
            assert await evidence_of(wrong) is Evidence.ABSENT


async def test_refused_password_closes_no_other_connection(server: OwnValkey) -> None:
    """A connection that cannot be made any more takes none of those along that were made before."""
    async with configured(server) as opened:
        await opened.probe("key")
        async with redis.from_url(server.url) as operator:
            await operator.config_set("requirepass", "secret")
        async with asyncio.timeout(5):
            with pytest.raises(errors.Unavailable):  # more at a time than there are connections
                await asyncio.gather(*(opened.probe(f"key{number}") for number in range(10)))
        await opened.probe("key")


async def test_without_permission(server: OwnValkey) -> None:
    """NOPERM: unavailable, since nothing of that kind works for this account."""
    async with redis.from_url(server.url) as operator:
        await operator.execute_command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@read", "+@connection")
    async with open_redis(server.url.replace("unix://", "unix://reader:x@"), seconds=2) as opened:
        assert await evidence_of(opened) is Evidence.ABSENT


async def test_script_that_does_not_end(server: OwnValkey) -> None:
    """BUSY: unavailable while a script of somebody's runs on and on."""
    async with redis.from_url(server.url) as operator, configured(server, lua_time_limit=50) as opened:
        endless = asyncio.create_task(operator.eval(FOREVER, 0))
        await asyncio.sleep(0.2)
        assert await evidence_of(opened) is Evidence.ABSENT
        async with redis.from_url(server.url) as killer:
            await killer.script_kill()
        with pytest.raises(exceptions.ResponseError):
            await endless
        await opened.probe("key")


async def test_key_of_another_type(server: OwnValkey) -> None:
    """WRONGTYPE is an answer to this call, by script and by command."""
    async with redis.from_url(server.url) as operator, open_redis(server.url) as opened:
        await operator.lpush("key", "1")
        assert await evidence_of(opened, GET) == "ResponseError"
        with pytest.raises(exceptions.ResponseError, match="WRONGTYPE"):
            await opened.hmget("key", ["field"])


async def test_forgotten_script(server: OwnValkey) -> None:
    """NOSCRIPT is answered by sending the script itself, once."""
    async with redis.from_url(server.url) as operator, open_redis(server.url) as opened:
        for _ in range(2):
            await operator.script_flush()
            assert await opened.run(SET, [ScriptCall(["key"], ["1"]), ScriptCall(["other"], ["2"])]) == [b"OK", b"OK"]


async def test_loading(tmp_path: Path) -> None:
    """LOADING: unavailable until all data are read."""
    (port,) = free_ports(1)
    options = {"bind": "127.0.0.1", "save": "", "enable-debug-command": "local"}
    process = start(tmp_path, port, options)
    try:
        async with redis.Redis(port=port) as operator:
            await answers(operator)
            await operator.execute_command("DEBUG", "POPULATE", "300000")
            await operator.config_set("loading-process-events-interval-bytes", 1024)
            await operator.config_set("key-load-delay", 50)  # microseconds
            reload = asyncio.create_task(operator.execute_command("DEBUG", "RELOAD"))
            async with open_redis(f"redis://127.0.0.1:{port}", seconds=2) as opened:
                async with asyncio.timeout(20):
                    while (evidence := await first_failure(opened)) is None:
                        await asyncio.sleep(0.005)
                assert evidence is Evidence.ABSENT
            reload.cancel()
            await asyncio.gather(reload, return_exceptions=True)
    finally:
        process.kill()
        process.wait()


async def first_failure(opened: RedisServer) -> Evidence | None:
    """Return what a write shows, None if it works."""
    try:
        await opened.probe("key")
    except errors.Unavailable as error:
        return error.evidence if isinstance(error.__cause__, exceptions.BusyLoadingError) else None
    return None


async def answers(client: Any) -> None:
    """Return once a server answers."""
    async with asyncio.timeout(10):
        while True:
            try:
                await client.ping()
            except exceptions.ConnectionError:
                await asyncio.sleep(0.02)
            else:
                return


async def test_cluster_without_a_node_for_a_slot(tmp_path: Path) -> None:
    """CLUSTERDOWN: unavailable; MOVED: followed, and executed once."""
    async with redis_cluster(tmp_path) as url, open_redis(url, seconds=2) as opened:
        await opened.client.initialize()
        owner = opened.client.get_node_from_key("key")
        slot = opened.slot_of("key")
        async with redis.Redis(port=owner.port) as node:
            await node.execute_command("CLUSTER", "DELSLOTS", slot)
            assert await evidence_of(opened) is Evidence.ABSENT
            other = next(each for each in opened.client.get_primaries() if each.name != owner.name)
            async with redis.Redis(port=other.port) as taker:
                await taker.execute_command("CLUSTER", "DELSLOTS", slot)
                await taker.execute_command("CLUSTER", "ADDSLOTS", slot)
                await taker.execute_command("CLUSTER", "BUMPEPOCH")
                async with asyncio.timeout(10):
                    while True:
                        try:
                            assert await opened.run(SET, [ScriptCall(["key"], ["1"])]) == [b"OK"]
                        except errors.Unavailable:
                            await asyncio.sleep(0.05)
                        else:
                            break
                assert await taker.get("key") == b"1"


@pytest.mark.parametrize("code", sorted(REPLIES))
async def test_every_code_of_the_table(code: str) -> None:
    """Each code of the table is what the table says, from a command, from a script, and as Redis 6.2 wraps it."""
    texts = [f"{code} and what follows"]
    if code not in ("MOVED", "ASK"):  # these name a place, and no script brings them
        texts.append(f"ERR Error running script (call to f_00): @user_script:1: @user_script: 1: -{code} what follows")
    async with replying_server() as server, open_redis(server.url, seconds=2) as opened:
        for text in [f"{code} 1 127.0.0.1:1"] if code in ("MOVED", "ASK") else texts:
            server.reply = f"-{text}"
            assert await evidence_of(opened) is OF[REPLIES[code]]


@pytest.mark.parametrize("text", ANSWERS)
async def test_every_other_code_is_an_answer(text: str) -> None:
    """What the table does not name is about the call alone."""
    async with replying_server() as server, open_redis(server.url, seconds=2) as opened:
        server.reply = f"-{text}"
        assert isinstance(await evidence_of(opened), str)


async def test_only_a_demoted_server_costs_all_connections() -> None:
    """READONLY closes every connection, OOM none."""
    async with replying_server() as server, open_redis(server.url, seconds=2) as opened:
        for code, connections in (("OOM", 1), ("READONLY", 2)):
            server.reply = f"-{code} what follows"
            for _ in range(2):
                await evidence_of(opened)
            assert server.connections == connections


async def test_no_free_connection_is_no_evidence(server: OwnValkey) -> None:
    """Who gets no connection because all are lent learns nothing about the server."""
    async with open_redis(server.url, max_connections=1) as opened:
        taken = await opened.client.connection_pool.get_connection()
        assert await evidence_of(opened) is Evidence.NONE
        await opened.client.connection_pool.release(taken)
        await opened.probe("key")
