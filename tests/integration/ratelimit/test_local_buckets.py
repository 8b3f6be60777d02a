"""The buckets of an outage do the same sums as those in Redis."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.buckets import POLICIES, START, Bench, open_bench
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.ratelimit.batch import Ask
from wingmanmatch_server.ratelimit.local_buckets import LocalBuckets

ASKS = st.lists(st.tuples(st.sampled_from(("auth_endpoint", "email_send")), st.integers(0, 5)), min_size=1, max_size=4)
STEPS = st.lists(st.tuples(st.integers(0, 60), ASKS, st.booleans(), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_both_answer_alike(
    engines: EmbeddedEngines, steps: list[tuple[int, list[tuple[str, int]], bool, bool]]
) -> None:
    """Whatever is asked, at whatever times, in whichever mode, the answers are equal to the microsecond."""

    async def compare() -> None:
        async with open_bench(engines.redis_url) as bench:
            await _compare(bench, steps)

    asyncio.run(compare())


async def _compare(bench: Bench, steps: list[tuple[int, list[tuple[str, int]], bool, bool]]) -> None:
    local, at = LocalBuckets(lambda: bench.now), 0
    for wait, wanted, together, peek in steps:
        at += wait
        await bench.set_clock(at)
        asks = [bench.ask_of(POLICIES[name], min(cost, POLICIES[name].capacity)) for name, cost in wanted]
        exact = (await bench.buckets.ask(asks, all_or_nothing=together, peek=peek)).answers
        assert local.ask(asks, all_or_nothing=together, peek=peek) == exact
    assert bench.now == START + at


def test_each_replica_has_its_share() -> None:
    """Three replicas let no more through than one bucket would, and a small bucket still lets one call pass."""
    local = LocalBuckets(lambda: 100.0)
    local.replicas = 3
    for name, share in (("public_api", 33), ("email_send", 1)):
        asks = [Ask(POLICIES[name].key_of("u"), POLICIES[name], 1)] * 60
        assert sum(answer.allowed for answer in local.ask(asks, all_or_nothing=False, peek=False)) == share


def test_the_memory_is_bounded() -> None:
    """A flood of subjects makes room by dropping the oldest."""
    local = LocalBuckets(lambda: 100.0, size=10)
    limit = POLICIES["public_api"]
    for number in range(50):
        local.ask([Ask(str(number), limit, 1)], all_or_nothing=False, peek=False)
    assert len(local._full_at) == 10
