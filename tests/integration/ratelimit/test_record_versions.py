"""Buckets beside a newer version of the server: what it writes is not filled, not changed, and blocks nobody."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.buckets import POLICIES, Bench
from support.limiters import OpenLimiter, open_limiter, until
from support.redis_cluster import redis_cluster
from support.redis_raw import raw_value
from wingmanmatch_server import errors
from wingmanmatch_server.bootstrap.coaching import make_budget
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import ScriptFailed
from wingmanmatch_server.ratelimit import budget
from wingmanmatch_server.ratelimit.token_bucket import RequestId

SECOND = 1_000_000
PUBLIC, AUTH = POLICIES["public_api"], POLICIES["auth_endpoint"]
LIFE = 60_000  # milliseconds
UNKNOWN = ("2:1800000050000000:1000000:x", "1800000050000000:1000000", "garbage", "1:5:0", "1:5", "1:5:1:1", "", ":")
REQUEST = RequestId("test:1", "f" * 32)
OUTAGES = """
[policies.shared]
capacity = 2
refill_per_second = 0.01

[policies.strict]
capacity = 2
refill_per_second = 0.01
outage = "deny"

[policies.lenient]
capacity = 2
refill_per_second = 0.01
outage = "allow"

[policies.coaching_tokens]
capacity = 100
refill_per_second = 0.01
"""

every_unknown = pytest.mark.parametrize("value", UNKNOWN)


@pytest.fixture
async def limits(engines: EmbeddedEngines, tmp_path: Path) -> AsyncIterator[OpenLimiter]:
    """A limiter whose policies do different things in an outage."""
    file = tmp_path / "limits.toml"
    file.write_text(OUTAGES)
    async with open_limiter(engines.redis_url, file) as limits:
        yield limits


@pytest.fixture
def subject() -> str:
    """Somebody whose buckets are full."""
    return uuid.uuid4().hex


@every_unknown
async def test_unknown_bucket_is_left_as_it_is(bench: Bench, value: str) -> None:
    """Spending, putting back, asking: each is refused, alone and in a batch, and changes neither value nor expiry."""
    key = PUBLIC.key_of(bench.subject)
    await bench.raw.set(key, value, px=LIFE)
    before = await raw_value(bench.server, key)
    ask = bench.ask_of(PUBLIC)
    for asks, options in (
        ([ask], {}),
        ([ask], {"peek": True}),
        ([ask, bench.ask_of(AUTH)], {"all_or_nothing": True}),
        ([ask._replace(cost=-1)], {}),
        ([ask], {"request": REQUEST}),
    ):
        with pytest.raises(ScriptFailed):
            await bench.buckets.ask(asks, **options)
    with pytest.raises(ScriptFailed):
        await bench.buckets.ask_one(ask)
    assert before.is_still(await raw_value(bench.server, key))
    assert await bench.value(AUTH) is None
    assert await bench.raw.get(f"rl:req:{REQUEST.name}") is None


async def test_unknown_bucket_without_an_end_gets_one(bench: Bench) -> None:
    """A value that would never expire does so when any bucket of the limit would be full again; a peek leaves it."""
    key = PUBLIC.key_of(bench.subject)
    await bench.raw.set(key, "2:x")
    with pytest.raises(ScriptFailed):
        await bench.buckets.ask([bench.ask_of(PUBLIC)], peek=True)
    assert await bench.lifetime(PUBLIC) == -1
    with pytest.raises(ScriptFailed):
        await bench.ask(PUBLIC)
    assert await bench.value(PUBLIC) == b"2:x"
    full = PUBLIC.capacity * PUBLIC.interval // 1000
    assert full < await bench.lifetime(PUBLIC) <= full + 1000


async def test_request_over_an_unknown_bucket_is_done_as_a_whole_later(bench: Bench) -> None:
    """With a request_id nothing is charged, nor remembered: once the bucket can be read the same request is done."""
    await bench.raw.set(PUBLIC.key_of(bench.subject), "2:x", px=LIFE)
    asks, request = [bench.ask_of(AUTH), bench.ask_of(PUBLIC)], RequestId(bench.subject, "f" * 32)
    with pytest.raises(ScriptFailed):
        await bench.buckets.ask(asks, request=request)
    assert await bench.value(AUTH) is None
    await bench.raw.delete(PUBLIC.key_of(bench.subject))
    for _ in range(2):
        reply = await bench.buckets.ask(asks, request=request)
        assert [answer.remaining for answer in reply.answers] == [9, 99]


@pytest.mark.parametrize("planted", [b"2:x", REQUEST.fingerprint.encode() + b"\x94\x00", b"", b"1"])
async def test_unknown_answer_of_a_request_is_neither_repeated_nor_replaced(bench: Bench, planted: bytes) -> None:
    """A request whose first answer is of another version spends nothing and is not called a reused one."""
    request = RequestId(bench.subject, REQUEST.fingerprint)
    await bench.raw.set(f"rl:req:{request.name}", planted, px=LIFE)
    before = await raw_value(bench.server, f"rl:req:{request.name}")
    with pytest.raises(ScriptFailed):
        await bench.buckets.ask([bench.ask_of(PUBLIC)], request=request)
    assert before.is_still(await raw_value(bench.server, f"rl:req:{request.name}"))
    assert await bench.value(PUBLIC) is None


@pytest.mark.parametrize(("policy", "admitted"), [("shared", 2), ("strict", 0), ("lenient", 5)])
async def test_unknown_bucket_falls_to_the_outage_behaviour(
    limits: OpenLimiter, subject: str, policy: str, admitted: int
) -> None:
    """Five calls are decided as without Redis, are counted so, and the circuit breaker stays closed."""
    key = limits.limiter.resolve(policy, subject, 1, "").key
    await limits.redis.client.set(key, "2:x", px=LIFE)
    decisions = [await limits.check(policy, subject) for _ in range(5)]
    assert all(decision.degraded for decision in decisions)
    assert sum(decision.allowed for decision in decisions) == admitted
    assert limits.counted(policy, "allowed_degraded") == admitted
    assert limits._registry.get_sample_value("ratelimit_failed_scripts_total") == 5
    assert limits.breaker.failure_count == 0
    assert await limits.redis.client.get(key) == b"2:x"


async def test_refund_to_an_unknown_bucket_is_refused_as_a_whole(limits: OpenLimiter, subject: str) -> None:
    """No bucket of the call is filled, and the error says that another replica may do it."""
    other = f"{subject}-other"
    assert await limits.allowed("shared", other, 2) == 2
    asks = [limits.limiter.resolve("shared", name, 1, "") for name in (other, subject)]
    await limits.redis.client.set(asks[1].key, "2:x", px=LIFE)
    before = [await raw_value(limits.redis, ask.key) for ask in asks]
    for request in (None, RequestId(subject, "f" * 32)):
        with pytest.raises(errors.Unavailable) as raised:
            await limits.limiter.refund(asks, request)
        assert (raised.value.reason, raised.value.metadata) == ("RECORD_VERSION_UNKNOWN", {"record": "rate limit"})
    for ask, was in zip(asks, before, strict=True):
        assert was.is_still(await raw_value(limits.redis, ask.key))


async def test_settling_with_an_unknown_bucket_asks_once(limits: OpenLimiter, subject: str) -> None:
    """What the coach reserved in a bucket that then changed its version stays reserved, and is not tried again."""
    budget_of_tokens = make_budget(limits.limiter)
    reservation = await budget_of_tokens.reserve(subject, 10)
    key = limits.limiter.resolve("coaching_tokens", subject, 1, "").key
    await limits.redis.client.set(key, "2:x", px=LIFE)
    before = limits.round_trips()
    await budget_of_tokens.settle(reservation, 4)
    assert limits.round_trips() == before + 1
    assert await limits.redis.client.get(key) == b"2:x"


async def test_unknown_bucket_is_reset(limits: OpenLimiter, subject: str) -> None:
    """Who fills a bucket fills it whatever its version, and an erased person keeps none."""
    key = limits.limiter.resolve("shared", subject, 1, "").key
    for remove in (limits.limiter.reset("shared", subject, ""), limits.limiter.forget(subject)):
        await limits.redis.client.set(key, "2:x", px=LIFE)
        await remove
        assert await limits.redis.client.exists(key) == 0


@pytest.mark.parametrize("message", [b"2:rl:{somebody}:own", b"\xff\xfe", b""])
async def test_message_of_another_form_makes_every_denial_forgotten(
    limits: OpenLimiter, subject: str, message: bytes
) -> None:
    """Whatever a newer server says of tokens put back, no denial outlives it."""
    assert await limits.allowed("shared", subject, 3) == 2
    denials, key = limits.limiter._denials, limits.limiter.resolve("shared", subject, 1, "").key
    assert not denials.know_none_of([key])
    await limits.redis.client.publish("rl:forget", message)
    await until(lambda: denials.know_none_of([key]))
    assert denials._hearing


async def test_unknown_claim_of_a_request_on_a_cluster(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    """On a cluster a request that another version claimed spends nothing, and its claim stays."""
    # What is shown is which buckets are charged, not how fast three nodes and all tests share a processor.
    monkeypatch.setattr(budget, "BUDGET", 5.0)
    async with redis_cluster(tmp_path_factory.mktemp("cluster")) as url, open_limiter(url) as limits:
        ask, name = limits.limiter.resolve("public_api", subject, 1, ""), f"rl:req:{subject}"
        await limits.redis.client.set(name, "2:x", px=LIFE)
        before = await raw_value(limits.redis, name)
        with pytest.raises(ScriptFailed):
            await limits.limiter.decide_exactly([ask], request=RequestId(subject, "f" * 32))
        assert before.is_still(await raw_value(limits.redis, name))
        assert await limits.redis.client.exists(ask.key) == 0
