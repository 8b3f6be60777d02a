"""Decisions by policy, on the real engine."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.lateness import stopwatch
from support.limiters import OpenLimiter, open_limiter, until
from support.redis_proxy import proxying
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.ratelimit.budget import BUDGET
from wingmanmatch_server.ratelimit.token_bucket import RequestId

POLICIES = """
[policies.tried]
capacity = 1
refill_per_second = 0.01
shadow = true

[policies.closed]
capacity = 0
refill_per_second = 1

[policies.quick]
capacity = 1
refill_per_second = 20

[policies.own]
capacity = 2
refill_per_second = 0.01

[[policies.own.overrides]]
subject = "vip"
capacity = 4
refill_per_second = 0.01

[[policies.own.overrides]]
caller = "partner:1"
capacity = 3
refill_per_second = 0.01

[[policies.own.overrides]]
subject = "free"
unlimited = true

[[policies.backend_api.overrides]]
subject = "named"
capacity = 3
refill_per_second = 0.01
"""


@pytest.fixture
async def limits(engines: EmbeddedEngines, tmp_path: Path) -> AsyncIterator[OpenLimiter]:
    """A limiter with the policies above."""
    file = tmp_path / "limits.toml"
    file.write_text(POLICIES)
    async with open_limiter(engines.redis_url, file) as limits:
        yield limits


@pytest.fixture
def subject() -> str:
    """Somebody whose buckets are full."""
    return uuid.uuid4().hex


async def test_a_denied_caller_costs_redis_nothing(limits: OpenLimiter, subject: str) -> None:
    """Once denied, the same call is denied from memory, with the same wait, until it may pass."""
    await limits.allowed("own", subject, 2)
    first = (await limits.check("own", subject)).answers[0]
    before = limits.round_trips()
    again = [(await limits.check("own", subject)).answers[0] for _ in range(100)]
    assert limits.round_trips() == before
    assert not any(answer.allowed for answer in again)
    assert all(first.retry - 2_000_000 < answer.retry <= first.retry for answer in again)
    assert limits.counted("own", "denied_from_memory") == 100


async def test_denied_buckets_of_a_batch_cost_redis_nothing(limits: OpenLimiter, subject: str) -> None:
    """What a batch found denied is denied from memory afterwards, alone and in batches; the others are asked."""
    empty = [limits.limiter.resolve("own", f"{subject}{number}", 2, "") for number in range(3)]
    fresh = limits.limiter.resolve("public_api", subject, 1, "")
    assert (await limits.limiter.decide(empty)).allowed
    first = await limits.limiter.decide([*empty, fresh])
    assert [answer.allowed for answer in first.answers] == [0, 0, 0, 1]
    before = limits.round_trips()
    assert not (await limits.limiter.decide(empty)).allowed
    assert not (await limits.limiter.decide(empty[:1])).allowed
    assert limits.round_trips() == before
    mixed = await limits.limiter.decide([empty[0], fresh, empty[1]])
    assert [(answer.allowed, answer.remaining) for answer in mixed.answers] == [(0, 0), (1, 98), (0, 0)]
    assert limits.counted("own", "denied_from_memory") == 6


async def test_a_denial_is_forgotten_at_its_exact_instant(limits: OpenLimiter, subject: str) -> None:
    """A caller who comes back when told to passes: the memory never outlasts the wait."""
    for _ in range(5):
        assert (await limits.check("quick", subject)).allowed
        denied = (await limits.check("quick", subject)).answers[0]
        await asyncio.sleep(denied.retry / 1_000_000)


async def test_smaller_costs_pass_while_a_larger_one_is_denied(limits: OpenLimiter, subject: str) -> None:
    """What is remembered of a bucket is how full it is, not the answer."""
    await limits.check("own", subject)
    assert not (await limits.check("own", subject, 2)).allowed
    assert not (await limits.check("own", subject, 2)).allowed
    assert (await limits.check("own", subject, 1)).allowed


@pytest.mark.parametrize("way", ["refund", "reset"])
async def test_other_replicas_hear_of_tokens_put_back(
    limits: OpenLimiter, engines: EmbeddedEngines, subject: str, tmp_path: Path, way: str
) -> None:
    """A refund or reset through one replica ends the denials that another remembers."""
    async with open_limiter(engines.redis_url, tmp_path / "limits.toml") as other:
        await limits.allowed("own", subject, 3)
        assert not (await limits.check("own", subject)).allowed
        if way == "refund":
            await other.limiter.refund([other.limiter.resolve("own", subject, 1, "")])
        else:
            await other.limiter.reset("own", subject, "")
        ask = limits.limiter.resolve("own", subject, 1, "")
        await until(lambda: limits.limiter._denials.known(ask) is None)
        assert (await limits.check("own", subject)).allowed


async def test_nothing_is_remembered_while_others_cannot_be_heard(
    engines: EmbeddedEngines, subject: str, tmp_path: Path
) -> None:
    """When the subscription breaks, denials are asked of Redis until it is back."""
    async with proxying(engines.redis_url, tmp_path) as proxy, open_limiter(proxy.url) as limits:
        await limits.allowed("email_send", subject, 4)
        ask = limits.limiter.resolve("email_send", subject, 1, "")
        assert limits.limiter._denials.known(ask)
        proxy.cut()
        await until(lambda: limits.limiter._denials.known(ask) is None)
        await until(lambda: limits.limiter._denials._hearing)


async def test_shadow_counts_and_denies_nothing(limits: OpenLimiter, subject: str) -> None:
    """A policy that is tried lets all pass, says what it would have done, and stays out of ALL."""
    first, second = [await limits.check("tried", subject) for _ in range(2)]
    assert (first.allowed, first.answers[0].allowed) == (True, 1)
    assert (second.allowed, second.answers[0].allowed) == (True, 0)
    assert limits.counted("tried", "shadow_denied") == 1
    asks = [limits.limiter.resolve(policy, subject, 1, "") for policy in ("tried", "own")]
    both = await limits.limiter.decide(asks, all_or_nothing=True)
    assert (both.allowed, [answer.allowed for answer in both.answers], both.answers[1].remaining) == (True, [0, 1], 1)


async def test_closed_and_unlimited_policies_need_no_bucket(limits: OpenLimiter, subject: str) -> None:
    """A capacity of 0 lets nothing pass and charges nobody else in ALL; an unlimited subject always passes."""
    assert (await limits.check("closed", subject)).answers == [(0, 0, -1, 0)]
    asks = [limits.limiter.resolve(policy, subject, 1, "") for policy in ("own", "closed")]
    together = await limits.limiter.decide(asks, all_or_nothing=True)
    assert (together.allowed, together.answers[0].remaining) == (False, 2)
    assert await limits.allowed("own", "free", 50) == 50
    assert limits.round_trips() == 1


async def test_overrides(limits: OpenLimiter, subject: str) -> None:
    """A subject's override holds for the subject; a caller's for what the caller asks, in buckets of its own."""
    await limits.limiter.reset("own", "vip", "")
    assert await limits.allowed("own", "vip", 6) == 4
    asks = [limits.limiter.resolve("own", subject, 1, "partner:1")] * 5
    assert [answer.allowed for answer in (await limits.limiter.decide(asks)).answers] == [1, 1, 1, 0, 0]
    assert await limits.allowed("own", subject, 5) == 2
    await limits.limiter.reset("own", subject, "")
    assert [answer.allowed for answer in (await limits.limiter.decide(asks[:3])).answers] == [1, 1, 1]


async def backend_calls(limits: OpenLimiter, backend: str, attempts: int, **options: Any) -> list[str]:
    """Spend as a backend so often; return the policies that denied, empty text where none did."""
    denied = []
    for _ in range(attempts):
        try:
            await limits.limiter.spend_as_backend(backend, **options)
        except errors.RateLimited as error:
            denied.append(error.policy)
        else:
            denied.append("")
    return denied


async def test_a_backend_has_a_bucket_of_its_size(limits: OpenLimiter, subject: str) -> None:
    """Its key's size is two seconds of calls; an override of the policy for its name comes before."""
    await limits.limiter.reset("backend_api", "named", "")
    assert await backend_calls(limits, subject, 3, calls_per_second=1) == ["", "", "backend_api"]
    assert await backend_calls(limits, "named", 4, calls_per_second=1) == ["", "", "", "backend_api"]
    assert await backend_calls(limits, subject + "x", 50) == [""] * 50


async def test_a_backend_pays_with_the_user_or_not_at_all(limits: OpenLimiter, subject: str) -> None:
    """Where either bucket denies, neither is charged, and the one that denied is named."""
    options: dict[str, Any] = {"calls_per_second": 2, "protected": ("own", subject)}
    assert await backend_calls(limits, subject, 3, **options) == ["", "", "own"]
    assert await backend_calls(limits, subject, 3, calls_per_second=2) == ["", "", "backend_api"]
    options["protected"] = ("own", subject + "x")
    assert await backend_calls(limits, subject, 1, **options) == ["backend_api"]
    assert await limits.allowed("own", subject + "x", 3) == 2


async def test_a_repeated_request_spends_once(limits: OpenLimiter, subject: str) -> None:
    """The same request_id gets the first answer again, even once the bucket is empty; for other work it is refused."""
    request = RequestId(uuid.uuid4().hex, "a" * 32)
    first = await limits.check("own", subject, request=request)
    assert (await limits.check("own", subject, request=request)).answers == first.answers
    assert await limits.allowed("own", subject, 3) == 1
    assert (await limits.check("own", subject, request=request)).answers == first.answers
    with pytest.raises(errors.InvalidArgument, match="another request"):
        await limits.check("own", subject, request=request._replace(fingerprint="b" * 32))


async def test_repeats_at_the_same_time_spend_once(limits: OpenLimiter, subject: str) -> None:
    """Fifty copies of one request take one token."""
    request = RequestId(uuid.uuid4().hex, "a" * 32)
    await asyncio.gather(*(limits.check("public_api", subject, request=request) for _ in range(50)))
    assert (await limits.check("public_api", subject, 0)).answers[0].remaining == 99


async def test_a_lost_reply_is_not_asked_for_again(engines: EmbeddedEngines, subject: str, tmp_path: Path) -> None:
    """Case 28: a spend whose reply is lost was sent once, and the decision comes within the budget."""
    async with proxying(engines.redis_url, tmp_path) as proxy, open_limiter(proxy.url) as limits:
        await limits.check("public_api", subject)
        sent = proxy.count(b"EVALSHA")
        proxy.replies_lost = True
        async with stopwatch() as watch:
            started = watch.now()
            decision = await limits.check("public_api", subject)
            waited = watch.now() - started
        proxy.replies_lost = False
        assert (decision.degraded, proxy.count(b"EVALSHA")) == (True, sent + 1)
        assert waited < BUDGET + 0.04
        assert (await limits.check("public_api", subject, 0)).answers[0].remaining == 98


async def test_concurrent_checks_share_round_trips(limits: OpenLimiter, subject: str) -> None:
    """Two hundred checks at once take a few round trips; one after the other each takes its own."""
    before = limits.round_trips()
    decisions = await asyncio.gather(*(limits.check("public_api", subject) for _ in range(200)))
    assert sum(decision.allowed for decision in decisions) == 100
    assert limits.round_trips() - before <= 3


async def test_a_bad_key_falls_to_the_outage_behaviour(limits: OpenLimiter, subject: str) -> None:
    """A key of another type is decided locally and does not open the breaker."""
    await limits.redis.client.rpush(f"rl:{{{subject}}}:own", "item")
    for _ in range(5):
        assert (await limits.check("own", subject)).degraded
    assert limits.breaker.failure_count == 0
    assert limits.counted("own", "allowed_degraded") == 2


async def test_many_at_once_that_have_nothing_to_do_with_each_other(limits: OpenLimiter, subject: str) -> None:
    """They take one round trip; a denied one is remembered; a bad key fails alone; unlimited ones ask nobody."""
    names = (("own", subject), ("own", subject), ("own", subject), ("own", "free"), ("tried", subject))
    asks = [limits.limiter.resolve(policy, name, 1, "") for policy, name in names]
    before = limits.round_trips()
    decided = await limits.limiter.decide_each(asks)
    assert limits.round_trips() == before + 1
    assert [(answer.allowed, answer.remaining) for answer, _ in decided[:3]] == [(1, 1), (1, 0), (0, 0)]
    assert [answer.allowed for answer, _ in decided[3:]] == [1, 1]
    assert (await limits.limiter.decide_each(asks[:3]))[0][0].allowed == 0
    assert limits.round_trips() == before + 1
    await limits.redis.client.rpush(f"rl:{{{subject}-bad}}:own", "item")
    bad = limits.limiter.resolve("own", f"{subject}-bad", 1, "")
    good = limits.limiter.resolve("own", f"{subject}-good", 1, "")
    assert [degraded for _, degraded in await limits.limiter.decide_each([good, bad, good])] != [False] * 3
    assert limits.breaker.failure_count == 0


async def test_a_changed_file_is_in_force_at_once(engines: EmbeddedEngines, subject: str, tmp_path: Path) -> None:
    """A new capacity counts what was used; a broken file changes nothing; the version tells."""
    file = tmp_path / "limits.toml"
    file.write_text("[policies.own]\ncapacity = 10\nrefill_per_second = 0.01\n")
    async with open_limiter(engines.redis_url, file) as limits:
        version = limits.limiter.policies.version
        assert await limits.allowed("own", subject, 4) == 4
        file.write_text("[policies.own]\ncapacity = 5\nrefill_per_second = 0.01\n")
        await until(lambda: limits.limiter.policies.version != version)
        assert await limits.allowed("own", subject, 4) == 1
        file.write_text("[policies.own\n")
        usable = "ratelimit_policy_file_usable"
        await until(lambda: limits._registry.get_sample_value(usable) == 0)
        assert limits.limiter.policies.by_name["own"].limit.capacity == 5
