"""Joins circuit breakers, the probers that close them early, and the retries behind them."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from wingmanmatch_server.resilience.breaker import Breaker, Limits, State
from wingmanmatch_server.resilience.prober import Probe, Prober
from wingmanmatch_server.resilience.retry import Retry, RetryLimits
from wingmanmatch_server.telemetry.metrics import CircuitMetrics

log = structlog.get_logger(__name__)

DATABASE_LIMITS = Limits(failure_threshold=5, recovery=60.0)
DATABASE_WRITES_LIMITS = Limits(failure_threshold=1, recovery=60.0)  # a server says for certain that it is read-only
REDIS_LIMITS = Limits(failure_threshold=3, recovery=30.0)
EMAIL_LIMITS = Limits(failure_threshold=3, recovery=120.0, probe_lease=20.0)
EXTERNAL_API_LIMITS = Limits(failure_threshold=5, recovery=60.0)
# Users of Redis that do not wait equally long for it: what is too slow for one of them is in time for another.
REDIS_BREAKERS = ("redis", "rate_limiter", "catalogue_cache")
RETRY_LIMITS = {
    "database": RetryLimits(attempts=3, base=1.0),
    "redis": RetryLimits(attempts=2, base=0.5),
    "external_api": RetryLimits(attempts=2, base=0.5),
}


def make_breakers(
    metrics: CircuitMetrics, followers: Sequence[Callable[[], None]], *, redis_clustered: bool = False
) -> dict[str, Breaker]:
    """Return the circuit breakers by name; a change of state is logged, counted, and told to `followers`.

    Those of a Redis cluster open only if no node serves: one that does not is the trouble of the keys on it.
    """

    def tell(name: str, state: State) -> None:
        log.warning("circuit_changed", dependency=name, state=str(state))
        metrics.changed(name, state)
        for follow in followers:
            follow()

    limits = {
        "database": DATABASE_LIMITS,
        "database_writes": DATABASE_WRITES_LIMITS,
        **dict.fromkeys(REDIS_BREAKERS, replace(REDIS_LIMITS, confirmed=redis_clustered)),
        "email": EMAIL_LIMITS,
        "external_api": EXTERNAL_API_LIMITS,
    }
    for name in limits:
        metrics.watch(name)
    return {name: Breaker(name, each, time.monotonic, tell) for name, each in limits.items()}


def make_probers(breakers: Mapping[str, Breaker], probes: Mapping[str, Probe]) -> list[Prober]:
    """Return what probes the dependencies that have a probe, by the names of their breakers."""
    return [Prober(breakers[name], probe, random.random) for name, probe in probes.items()]


def make_retries(breakers: Mapping[str, Breaker], on_retry: Callable[[str], object]) -> dict[str, Retry]:
    """Return what retries the calls of each dependency that has limits for it, by name."""
    return {
        name: Retry(limits, breakers[name], time.monotonic, random.random, on_retry=on_retry)
        for name, limits in RETRY_LIMITS.items()
    }
