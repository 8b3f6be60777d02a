"""What Redis's part of GetSession costs beside one bare GET of as many bytes, in one run.

    python benchmarks/session.py [--calls 3000] [--bytes 500] [--callers 1 16]

Starts a Valkey of its own. The kinds take turns, call by call, so that whatever else the machine does meets them all.
"""

import argparse
import asyncio
import random
import secrets
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import uvloop

from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.resilience.breaker import Breaker, Limits
from wingmanmatch_server.resilience.retry import Retry, RetryLimits
from wingmanmatch_server.session.store import SessionStore

Kinds = dict[str, Callable[[], Awaitable[object]]]


async def measure(kinds: Kinds, calls: int, callers: int) -> dict[str, list[float]]:
    """Return the microseconds of each round of `callers` calls at once, by kind; the first tenth warms up."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(calls + calls // 10):
        for kind, call in kinds.items():
            started = time.perf_counter()
            await asyncio.gather(*(call() for _ in range(callers))) if callers > 1 else await call()
            if turn >= calls // 10:
                times[kind].append((time.perf_counter() - started) * 1e6 / callers)
    return times


def report(times: dict[str, list[float]], callers: int) -> None:
    """Print one row a kind, each beside the bare GET."""
    limit = statistics.median(times["GET"])
    for kind, found in times.items():
        cuts = statistics.quantiles(found, n=100)
        print(
            f"  {callers:>3} at once  {kind:<20} p50 {cuts[49]:7.1f} us   p99 {cuts[98]:7.1f} us"
            f"   {cuts[49] / limit:5.2f} x GET",
            flush=True,
        )


async def bench(url: str, calls: int, size: int, callers: list[int]) -> None:
    """Measure on a session of `size` bytes of data."""
    async with open_redis(url) as redis:
        breaker = Breaker("redis", Limits(3, 30.0), time.monotonic)
        retry = Retry(RetryLimits(attempts=2, base=0.5), breaker, time.monotonic, random.random)
        store = SessionStore(redis, breaker, retry, max_age=timedelta(days=30), random_bytes=secrets.token_bytes)
        _, token = await store.create(str(uuid.uuid4()), secrets.token_bytes(size), ttl=timedelta(hours=1))
        await redis.client.set("bare", secrets.token_bytes(size))
        kinds: Kinds = {
            "GET": lambda: redis.client.get("bare"),
            "GetSession": lambda: store.get(token),
            "GetSession, touch": lambda: store.touch(token),
        }
        for count in callers:
            report(await measure(kinds, calls // count, count), count)


def main() -> None:
    """Run once for each number of callers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--bytes", type=int, default=500)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedEngines(Path(folder) / "data", postgres=False) as engines:
        engines.wait()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bench(engines.redis_url, options.calls, options.bytes, options.callers))


if __name__ == "__main__":
    main()
