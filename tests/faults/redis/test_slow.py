"""A Redis that is slow for some of its users, and callers who do not wait for it."""

import asyncio
import random
from functools import partial
from pathlib import Path

from support.limiters import Served, serving_limits
from support.redis_proxy import proxying
from support.server import roomy_limits
from support.session_load import Outcomes, calling, changes, create, eventually, limited, read, unhealthy, write
from support.valkey import OwnValkey

ROUNDS = 15
CALLERS = 8
SESSIONS = "wingmanmatch.session.v1.SessionService"
LIMITS = "wingmanmatch.ratelimit.v1.RateLimitService"
SERVING, NOT_SERVING = 1, 2


async def sessions_go_on(served: Served, outcomes: Outcomes) -> None:
    """Open, read and change sessions."""
    token = await create(served)
    for _ in range(ROUNDS):
        await outcomes.of(read(served, token))
        await outcomes.of(write(served, token))
        await outcomes.of(create(served))


async def test_too_slow_for_limits_is_in_time_for_sessions(dsn: str, valkey: OwnValkey, tmp_path: Path) -> None:
    """A Redis 100 ms away opens the breaker of the limiter, once, and fails no call of a session."""
    async with (
        proxying(valkey.url, tmp_path) as proxy,
        serving_limits(dsn, proxy.url, tmp_path, rate_limits_file=roomy_limits(tmp_path)) as served,
    ):
        outcomes = Outcomes()
        await create(served)
        proxy.reply_delay = 0.1
        async with calling(partial(limited, served)):
            await asyncio.gather(*(sessions_go_on(served, outcomes) for _ in range(CALLERS)))
            assert (outcomes.failed, outcomes.counts["OK"]) == (0, CALLERS * ROUNDS * 3)
            assert (changes(served, "rate_limiter"), changes(served, "redis")) == ({"open": 1}, {})
            assert (served.health._statuses[SESSIONS], served.health._statuses[LIMITS]) == (SERVING, NOT_SERVING)
            await eventually(lambda: is_unhealthy(served, {"rate_limiter"}), 5)
            proxy.reply_delay = 0.0
            await eventually(lambda: is_unhealthy(served, set()), 5)
        assert changes(served, "rate_limiter") == {"open": 1, "closed": 1}


async def is_unhealthy(served: Served, names: set[str]) -> bool:
    """Return whether exactly these dependencies are."""
    return await unhealthy(served) == names


async def test_deadlines_of_some_are_no_trouble_of_others(dsn: str, valkey: OwnValkey, tmp_path: Path) -> None:
    """Callers who give up after 20 to 130 ms, most of them unanswered, leave the breaker closed for patient ones."""
    seeded = random.Random(1)
    async with (
        proxying(valkey.url, tmp_path) as proxy,
        serving_limits(dsn, proxy.url, tmp_path, rate_limits_file=roomy_limits(tmp_path)) as served,
    ):
        outcomes, impatient, token = Outcomes(), Outcomes(), await create(served)
        proxy.reply_delay = 0.06

        async def give_up() -> None:
            await impatient.of(read(served, token, seeded.uniform(0.02, 0.13)))
            await impatient.of(write(served, token, seeded.uniform(0.02, 0.13)))

        async with calling(*[give_up] * 20):
            await asyncio.gather(*(sessions_go_on(served, outcomes) for _ in range(CALLERS)))
        assert (outcomes.failed, outcomes.counts["OK"]) == (0, CALLERS * ROUNDS * 3)
        assert impatient.counts["DEADLINE_EXCEEDED"] > 100
        assert changes(served, "redis") == {}
