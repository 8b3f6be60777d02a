"""How each record lies in Redis, byte by byte.

A layout is recorded under its kind and its format version. One that changed needs a new version:
docs/redis-records.md says how. `UPDATE_GOLDEN=1 pytest tests/golden/test_redis_records.py` then adds the new layout,
and never replaces one.
"""

import json
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.buckets import POLICIES, Bench, frozen_script, make_breaker
from support.conversations import TTL
from support.sessions import HOUR, MAX_AGE, pass_time
from wingmanmatch_server.challenge.copies import FORMAT, RedisCopies
from wingmanmatch_server.challenge.rows import Challenge
from wingmanmatch_server.coaching import conversation_store
from wingmanmatch_server.coaching.conversation_store import ConversationStore
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import RedisServer, open_redis
from wingmanmatch_server.ratelimit.batch import Ask
from wingmanmatch_server.ratelimit.clustered import ClusteredBuckets
from wingmanmatch_server.ratelimit.token_bucket import RequestId
from wingmanmatch_server.resilience.retry import Retry, RetryLimits
from wingmanmatch_server.session.keys import (
    creation_key,
    erasure_key,
    requests_key,
    session_key,
    update_key,
    user_key,
)
from wingmanmatch_server.session.store import REQUEST_VERSION, SESSION_VERSION, SessionStore

FILE = Path(__file__).with_name("redis_records.json")
PAGE = Path(__file__).parents[2] / "docs" / "redis-records.md"
SLACK = 3  # seconds that a test may take between the writing and the look at what is left to live
USER, REQUEST = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
CONVERSATION = "00000000-0000-4000-8000-000000000003"
NOW = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
FINGERPRINT = "f" * 32
PLACEHOLDERS = {
    "TAG": "[0-9a-f]{4}",
    "SHA256": "[0-9a-f]{64}",
    "USER": "[0-9a-f-]{36}",
    "ID": "[0-9a-f-]{36}",
    "SUBJECT": "[^}]+",
    "POLICY": "[a-z_]+",
    "NAME": "[a-z]+:[0-9a-f-]{36}",
    "DIGEST": "[0-9a-f]{32}",
}

# Lua's numbers as whole decimals, which cjson would round.
UNPACK = """
local function text(value)
  if type(value) == 'number' then return string.format('%.0f', value) end
  if type(value) ~= 'table' then return value end
  local copy = {}
  for name, each in pairs(value) do copy[name] = text(each) end
  return copy
end
return cjson.encode(text(cmsgpack.unpack(ARGV[1])))
"""


@pytest.fixture
async def redis(engines: EmbeddedEngines) -> AsyncIterator[RedisServer]:
    """An empty database of Redis."""
    async with open_redis(f"{engines.redis_url}?db=13") as redis:
        await redis.client.flushdb()
        yield redis


def readable(value: bytes) -> str:
    """Return bytes as text, those that are no ASCII escaped."""
    return value.decode("ascii", "backslashreplace")


async def layout(redis: RedisServer, key: str, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return how a key lies in Redis; what differs from run to run goes by its name in `names`."""
    kind, client, names = (await redis.client.type(key)).decode(), redis.client, names or {}

    def shown(value: bytes) -> str:
        return re.sub("|".join(names) or "(?!)", lambda match: names[match[0]], readable(value))

    if kind == "hash":
        value: Any = {shown(name): shown(held) for name, held in sorted((await client.hgetall(key)).items())}
    elif kind == "zset":
        pairs = await client.zrange(key, 0, -1, withscores=True)
        value = {shown(member): shown(b"%d" % score) for member, score in pairs}
    else:
        value = shown(await client.get(key))
    return {"key": key, "type": kind, "seconds": await client.pttl(key) / 1000, "value": value}


async def unpacked(redis: RedisServer, key: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Return how a string of a prefix and MessagePack lies in Redis."""
    prefix, _, packed = (await redis.client.get(key)).partition(b":")
    held = (await redis.client.eval(UNPACK, 0, packed)).decode()
    for value, name in names.items():
        held = held.replace(value, name)
    found = await layout(redis, key)
    return found | {"value": {"prefix": readable(prefix) + ":", "MessagePack": json.loads(held)}}


def compare(kind: str, found: dict[str, Any]) -> None:
    """Fail if a layout is not the one recorded under its kind and version; on request, add it where none is."""
    recorded = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    if kind not in recorded and os.environ.get("UPDATE_GOLDEN"):
        recorded[kind] = found | {"seconds": round(found["seconds"])}
        FILE.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n", "utf-8")
    expected = recorded[kind]
    assert found | {"seconds": None} == expected | {"seconds": None}, f"{kind} changed: raise its version"
    assert 0 <= expected["seconds"] - found["seconds"] <= SLACK, f"{kind} lives longer or shorter than it did"


async def test_sessions(redis: RedisServer) -> None:
    """A session, its place in the person's index, and the remembered answers of CreateSession and UpdateSession."""
    breaker = make_breaker()
    retry = Retry(RetryLimits(attempts=1, base=0.0), breaker, time.monotonic, lambda: 0.0)
    store = SessionStore(redis, breaker, retry, max_age=MAX_AGE, random_bytes=bytes)
    session, token = await store.create(USER, b"data", ttl=HOUR, request_id=REQUEST)
    names = {
        session.id: "ID",
        str(session.max_expire_time): "NOW+MAX_AGE",
        str(session.expire_time): "NOW+TTL",
        str(session.create_time): "NOW",
    }
    compare(f"session v{SESSION_VERSION}", await layout(redis, session_key(token), names))
    compare("index of sessions", await layout(redis, user_key(USER), names))
    creation = await unpacked(redis, creation_key(USER, REQUEST), names)
    compare(f"answer of CreateSession v{REQUEST_VERSION}", creation)
    await pass_time(redis, timedelta(minutes=1))
    updated = await store.update(token, b"more", request_id=REQUEST)
    names = {
        updated.id: "ID",
        str(updated.max_expire_time): "MAX_EXPIRE_TIME",
        str(updated.expire_time): "EXPIRE_TIME",
        str(updated.create_time): "CREATE_TIME",
        str(updated.update_time): "NOW",
    }
    compare(f"answer of UpdateSession v{REQUEST_VERSION}", await unpacked(redis, update_key(token, REQUEST), names))
    requests = await layout(redis, requests_key(USER))
    assert set(requests["value"]) == {
        key.rpartition(":")[2] for key in (creation_key(USER, REQUEST), update_key(token, REQUEST))
    }
    compare("index of session requests", requests | {"value": "SHA256 by the millisecond in which it is forgotten"})
    await store.erase(USER)
    compare("mark of an erasure", await layout(redis, erasure_key(USER)))


async def test_conversations(redis: RedisServer) -> None:
    """A conversation, the index of a person's, and that the person is a minor."""
    breaker = make_breaker()
    retry = Retry(RetryLimits(attempts=1, base=0.0), breaker, time.monotonic, lambda: 0.0)
    store = ConversationStore(redis, breaker, retry, ttl=TTL, now=lambda: NOW, new_id=lambda: CONVERSATION)
    begun = await store.begin(await store.find(USER, None))
    assert await store.add(begun, "How do I start?", "Say hello.", minor=True)
    conversation = await layout(redis, f"coach:{{{USER}}}:conversation:{CONVERSATION}")
    compare(f"conversation v{conversation_store.VERSION}", conversation)
    compare("index of conversations", await layout(redis, f"coach:{{{USER}}}:conversations"))
    compare("minor", await layout(redis, f"coach:{{{USER}}}:minor"))


async def test_buckets(redis: RedisServer) -> None:
    """A bucket, the remembered answer of a request, on one server and on a cluster, and a message of a refund."""
    bench, limit = Bench(redis, "somebody"), POLICIES["public_api"]
    request = RequestId(f"backend:{REQUEST}", FINGERPRINT)
    await bench.set_clock(0)
    ask = Ask(limit.key_of(USER), limit, 5)
    await bench.buckets.ask([ask], request=request)
    bucket = await layout(redis, ask.key)
    version, _, _ = bucket["value"].partition(":")
    compare(f"bucket v{version}", bucket)
    compare(f"answer of a rate limit request v{version}", await layout(redis, f"rl:req:{request.name}"))
    await redis.client.delete(f"rl:req:{request.name}")
    clustered = ClusteredBuckets(redis, make_breaker(), time.monotonic, frozen_script("clock:somebody"))
    async with redis.subscribed("rl:forget") as messages:
        await clustered.ask([ask._replace(cost=-1)], request=request)
        message = await anext(messages)
    assert message.decode() == ask.key
    compare(f"claim of a rate limit request v{version}", await layout(redis, f"rl:req:{request.name}"))
    beside = await layout(redis, f"rl:{{{USER}}}:req:{request.name}")
    compare(f"answer of a rate limit request on a cluster v{version}", beside)


async def test_catalogue(redis: RedisServer) -> None:
    """The cached catalogue."""
    copies = RedisCopies(redis, make_breaker(), ttl=timedelta(minutes=10))
    challenge = Challenge(USER, "Grüße", 5, "BEGINNER", "Greet three people.")
    await copies.put("0123456789abcdef0123456789abcdef", [challenge])
    (key,) = await redis.client.keys("*")
    compare(f"catalogue v{FORMAT}", await layout(redis, key.decode()))


def test_every_record_is_documented() -> None:
    """Each recorded key is one line of the page's table, with its newest version; and each line is recorded."""
    table = PAGE.read_text("utf-8").partition("## The records")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| `([^`]+)` \|.*\| (\w+)[^|]*\|$", table, re.MULTILINE)
    recorded = json.loads(FILE.read_text("utf-8"))
    found: dict[str, set[str]] = {pattern: set() for pattern, _ in lines}
    for kind, each in recorded.items():
        (pattern,) = [pattern for pattern in found if re.fullmatch(_expression(pattern), each["key"])]
        found[pattern].add(kind.partition(" v")[2] or "fixed")
    assert {pattern: _newest(versions) for pattern, versions in found.items()} == dict(lines)


def _newest(versions: set[str]) -> str | None:
    return max(versions, key=lambda each: (len(each), each), default=None)


def _expression(pattern: str) -> str:
    escaped = re.escape(pattern)
    for name, expression in PLACEHOLDERS.items():
        escaped = re.sub(rf"\b{name}\b", lambda _, expression=expression: expression, escaped)
    return escaped
