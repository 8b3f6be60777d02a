"""Sessions on a real cluster of three nodes."""

import uuid
from collections.abc import AsyncIterator

import pytest

from support.redis_cluster import redis_cluster
from support.sessions import HOUR, create_store, session_of
from wingmanmatch_server.drivers.redis import RedisServer, open_redis
from wingmanmatch_server.session.keys import user_key

PEOPLE = [str(uuid.UUID(int=number)) for number in range(24)]


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """A cluster, reached by the address of one of its nodes."""
    async with redis_cluster(tmp_path_factory.mktemp("cluster")) as url, open_redis(url) as redis:
        yield redis


async def test_every_method_on_a_cluster(cluster: RedisServer) -> None:
    """People whose keys live on different nodes have the same sessions as on one server."""
    store = create_store(cluster)
    for user_id in PEOPLE:
        request_id = str(uuid.uuid4())
        first = await store.create(user_id, b"1", ttl=HOUR, request_id=request_id)
        assert await store.create(user_id, b"1", ttl=HOUR, request_id=request_id) == first
        second, token = await store.create(user_id, b"2", ttl=HOUR)
        updated = await store.update(token, b"3", expected_version=1, request_id=request_id)
        assert await store.touch(token, ttl=2 * HOUR) == await store.get(token) != updated
        listed = (await store.list_of_user(user_id, page_size=5)).sessions
        assert [session.id for session in listed] == [second.id, first[0].id]
        await store.delete(first[1])
        assert await store.delete_of_user(user_id) == 1
        assert [await session_of(store, each) for each in (token, first[1], "no token")] == [None] * 3


async def test_people_live_on_all_nodes(cluster: RedisServer) -> None:
    """The people above are spread over the nodes, so that the test before it means something."""
    thirds = {cluster.slot_of(user_key(user_id)) * 3 // 16384 for user_id in PEOPLE}
    assert thirds == {0, 1, 2}


async def forget_scripts(cluster: RedisServer) -> None:
    """Empty the memory for scripts of every node."""
    await cluster.client.execute_command("SCRIPT FLUSH", target_nodes="all")


async def test_scripts_on_nodes_that_forgot_them(cluster: RedisServer) -> None:
    """Every node learns the scripts when it needs them."""
    store = create_store(cluster)
    await forget_scripts(cluster)
    tokens = [(await store.create(user_id, b"", ttl=HOUR))[1] for user_id in PEOPLE]
    await forget_scripts(cluster)
    assert [(await store.update(token, b"2")).version for token in tokens] == [2] * len(PEOPLE)
