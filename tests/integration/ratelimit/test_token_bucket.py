"""The bucket's arithmetic, by the numbers that were worked out before it was written."""

import asyncio
import time

import pytest

from support.buckets import POLICIES, START, Bench
from wingmanmatch_server.drivers.redis import ScriptFailed
from wingmanmatch_server.ratelimit.batch import Answer
from wingmanmatch_server.ratelimit.policies import Limit, make_limit
from wingmanmatch_server.ratelimit.token_bucket import TokenBuckets

SECOND = 1_000_000
PUBLIC, AUTH, EMAIL = POLICIES["public_api"], POLICIES["auth_endpoint"], POLICIES["email_send"]
every_policy = pytest.mark.parametrize("limit", POLICIES.values(), ids=POLICIES)


def near(milliseconds: int, expected: int) -> bool:
    """Return whether a key's lifetime is as expected, but for the time it took to look."""
    return expected - 500 < milliseconds <= expected


@every_policy
async def test_peek_at_a_new_bucket_makes_no_key(bench: Bench, limit: Limit) -> None:
    """Case 1: a new bucket is full, and asking for nothing leaves no key behind."""
    assert await bench.ask(limit, 0) == (1, limit.capacity, 0, 0)
    assert await bench.value(limit) is None


@every_policy
async def test_first_spend(bench: Bench, limit: Limit) -> None:
    """Case 2: one token is gone, is back after an interval, and the key lives a second longer than that."""
    assert await bench.ask(limit) == (1, limit.capacity - 1, 0, limit.interval)
    assert near(await bench.lifetime(limit), limit.interval // 1000 + 1000)


@every_policy
async def test_each_spend_counts(bench: Bench, limit: Limit) -> None:
    """Case 3: after k tokens C - k are left, and k intervals are needed to fill the bucket."""
    answers = [await bench.ask(limit) for _ in range(limit.capacity)]
    assert answers == [(1, limit.capacity - k, 0, k * limit.interval) for k in range(1, limit.capacity + 1)]


@every_policy
async def test_one_more_is_denied(bench: Bench, limit: Limit) -> None:
    """Cases 4 and 5: a denial names the wait of one interval, and changes neither bucket nor lifetime."""
    await bench.empty(limit)
    written, full = await bench.value(limit), limit.capacity * limit.interval
    assert [await bench.ask(limit) for _ in range(3)] == [(0, 0, limit.interval, full)] * 3
    assert await bench.value(limit) == written
    assert near(await bench.lifetime(limit), full // 1000 + 1000)


@every_policy
async def test_waits_are_exact(bench: Bench, limit: Limit) -> None:
    """Cases 6 to 8: the wait shrinks with the clock to a millisecond; then exactly one token passes."""
    await bench.empty(limit)
    interval = limit.interval / SECOND
    await bench.set_clock(interval / 2)
    assert (await bench.ask(limit)).retry == limit.interval // 2
    await bench.set_clock(interval - 0.001)
    assert (await bench.ask(limit)).retry == 1000
    await bench.set_clock(interval)
    assert (await bench.ask(limit))[:2] == (1, 0)
    assert (await bench.ask(limit))[::2] == (0, limit.interval)


@every_policy
async def test_half_a_token_does_not_pass(bench: Bench, limit: Limit) -> None:
    """Case 9: two and a half intervals after empty two pass, and the third waits for the other half."""
    await bench.empty(limit)
    await bench.set_clock(2.5 * limit.interval / SECOND)
    answers = [await bench.ask(limit) for _ in range(3)]
    assert [answer.allowed for answer in answers] == [1, 1, 0]
    assert answers[2].retry == limit.interval // 2


@every_policy
async def test_costs_at_and_above_the_capacity(bench: Bench, limit: Limit) -> None:
    """Cases 10 and 11: more than the capacity can never pass and leaves no key; the capacity itself passes."""
    assert await bench.ask(limit, limit.capacity + 1) == (0, limit.capacity, -1, 0)
    assert await bench.value(limit) is None
    assert (await bench.ask(limit, limit.capacity))[:2] == (1, 0)


@every_policy
async def test_a_clock_set_back_costs_nothing(bench: Bench, limit: Limit) -> None:
    """Case 12: with the clock 50 s earlier the wait is an interval, not 50 s more."""
    await bench.empty(limit)
    await bench.set_clock(-50)
    assert (await bench.ask(limit)).retry == limit.interval


@pytest.mark.parametrize(
    ("name", "minute", "hour", "day"),
    [
        ("public_api", 160, 3700, 86500),
        ("auth_endpoint", 16, 370, 8650),
        ("match_request", 8, 185, 4325),
        ("email_send", 3, 39, 867),
        ("challenge_submit", 32, 740, 17300),
    ],
)
async def test_a_greedy_caller_gets_capacity_and_rate(
    bench: Bench, name: str, minute: int, hour: int, day: int
) -> None:
    """Cases 13 to 15: taking all that can be had from full admits C + floor(W/T) in any window W."""
    limit, admitted, expected = POLICIES[name], 0, {60: minute, 3600: hour, 86_400: day}
    for at in (0, 60, *range(100, 86_401, 100)):
        await bench.set_clock(at)
        held = (await bench.ask(limit, 0)).remaining
        assert (await bench.ask(limit, held))[:2] == (1, 0)
        admitted += held
        assert admitted == expected.get(at, admitted)
    assert not (await bench.ask(limit)).allowed


@every_policy
async def test_refunds(bench: Bench, limit: Limit) -> None:
    """Case 16: one token put back is one token more; a bucket full again has no key, and is never more than full."""
    await bench.empty(limit)
    assert await bench.ask(limit, -1) == (1, 1, 0, (limit.capacity - 1) * limit.interval)
    assert await bench.ask(limit, -limit.capacity) == (1, limit.capacity, 0, 0)
    assert await bench.value(limit) is None


async def test_a_cost_that_does_not_fit_takes_nothing(bench: Bench) -> None:
    """Case 17: 60 of 100, then 60 again: denied, 40 left, 20 s to wait."""
    assert (await bench.ask(PUBLIC, 60))[:2] == (1, 40)
    assert (await bench.ask(PUBLIC, 60))[:3] == (0, 40, 20 * SECOND)


async def test_a_changed_rate_keeps_what_was_used(bench: Bench) -> None:
    """Case 18: 50 used at 1/s are 50 used at 10/s, and back in 5 s."""
    await bench.ask(PUBLIC, 50)
    assert (await bench.ask(make_limit("public_api", 100, 10.0), 0))[1:] == (50, 0, 5 * SECOND)


async def test_a_changed_capacity_keeps_what_was_used(bench: Bench) -> None:
    """Cases 19 and 20: 50 used of 100 empty a bucket of 20; of 200 they leave 150."""
    await bench.ask(PUBLIC, 50)
    assert await bench.ask(make_limit("public_api", 20, 1.0)) == (0, 0, SECOND, 20 * SECOND)
    assert (await bench.ask(make_limit("public_api", 200, 1.0), 0)).remaining == 150


async def test_all_or_nothing_charges_nothing_where_one_denies(bench: Bench) -> None:
    """Case 21: with email empty, ALL leaves public_api untouched; EACH charges it."""
    await bench.empty(EMAIL)
    asks = [bench.ask_of(PUBLIC), bench.ask_of(EMAIL)]
    together = (await bench.buckets.ask(asks, all_or_nothing=True)).answers
    assert together == [(1, 100, 0, 0), (0, 0, 100 * SECOND, 300 * SECOND)]
    assert await bench.value(PUBLIC) is None
    assert (await bench.buckets.ask(asks)).answers[0] == (1, 99, 0, SECOND)


async def test_one_bucket_named_twice(bench: Bench) -> None:
    """Case 22: the second ask sees what the first takes, and nothing is taken where both do not fit."""
    asks = [bench.ask_of(AUTH, 6), bench.ask_of(AUTH, 6)]
    denied = (await bench.buckets.ask(asks, all_or_nothing=True)).answers
    assert denied == [(1, 10, 0, 0), (0, 10, 20 * SECOND, 0)]
    assert await bench.value(AUTH) is None
    allowed = await bench.buckets.ask([asks[0], bench.ask_of(AUTH, 4)], all_or_nothing=True)
    assert allowed.answers[1][:2] == (1, 0)
    assert await bench.value(AUTH) == f"1:{(START + 100) * SECOND}:{10 * SECOND}".encode()


async def test_a_flushed_script_is_loaded_again(bench: Bench) -> None:
    """Case 23: SCRIPT FLUSH costs no call, alone or in the middle of a batch."""
    await bench.raw.script_flush()
    assert (await bench.ask(PUBLIC)).remaining == 99
    await bench.raw.script_flush()
    answers = await asyncio.gather(*(bench.ask(PUBLIC) for _ in range(20)))
    assert sorted(answer.remaining for answer in answers) == list(range(79, 99))


async def test_a_key_of_another_type_fails_alone(bench: Bench) -> None:
    """Case 25: WRONGTYPE surfaces for the one call, and not for those in the same batch."""
    await bench.raw.rpush(PUBLIC.key_of(bench.subject), "item")
    wrong, right = await asyncio.gather(bench.ask(PUBLIC), bench.ask(AUTH), return_exceptions=True)
    assert isinstance(wrong, ScriptFailed)
    assert right == (1, 9, 0, 10 * SECOND)


async def test_a_rate_that_microseconds_do_not_divide(bench: Bench) -> None:
    """Case 26: three a second are one in 333 333 microseconds."""
    limit = make_limit("three", 3, 3.0)
    await bench.ask(limit)
    value = await bench.value(limit)
    assert value is not None
    assert value.endswith(b":333333")
    assert near(await bench.lifetime(limit), 1334)


async def test_memory_of_a_bucket(bench: Bench) -> None:
    """Case 27: a bucket under a short name takes about a hundred bytes."""
    key = PUBLIC.key_of("u1")
    await bench.raw.delete(key)
    await bench.buckets.ask([bench.ask_of(PUBLIC)._replace(key=key)])
    assert await bench.raw.memory_usage(key) <= 112


async def test_no_more_than_the_capacity_passes(bench: Bench) -> None:
    """Case 29: of 2 000 calls from 40 callers on a bucket of 100 exactly 100 pass."""

    async def caller() -> int:
        return sum([(await bench.ask(PUBLIC)).allowed for _ in range(50)])

    assert sum(await asyncio.gather(*(caller() for _ in range(40)))) == 100


async def test_the_servers_clock_decides(bench: Bench) -> None:
    """The script as the server runs it goes by the time of Redis."""
    buckets = TokenBuckets(bench.server, bench.buckets._breaker, time.monotonic)
    await buckets.ask([bench.ask_of(AUTH)])
    value = await bench.value(AUTH)
    assert value is not None
    assert abs(int(value.split(b":")[1]) / SECOND - 10 - time.time()) < 5


async def test_answers_of_a_batch_come_in_its_order(bench: Bench) -> None:
    """A thousand buckets in one call answer in the order asked."""
    asks = [bench.ask_of(PUBLIC, cost) for cost in (1, 0, 2, 0)] + [bench.ask_of(EMAIL)._replace(cost=0)] * 996
    answers = (await bench.buckets.ask(asks)).answers
    assert [answer.remaining for answer in answers] == [99, 99, 97, 97] + [3] * 996
    assert isinstance(answers[0], Answer)
