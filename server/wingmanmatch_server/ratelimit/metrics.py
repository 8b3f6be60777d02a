"""Decisions as Prometheus sees them. Labels are names of policies and outcomes, never of whoever is limited."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from wingmanmatch_server.ratelimit.batch import Answer, Answers, Ask, Asks
from wingmanmatch_server.ratelimit.policies import Limit

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

ALLOWED, DENIED, SHADOW_DENIED = "allowed", "denied", "shadow_denied"
LOCAL_SUFFIX, DEGRADED_SUFFIX = "_from_memory", "_degraded"


class RateLimitMetrics:
    """Counts what is decided, how, and how near to the limit."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "ratelimit_decisions",
            "Answers of buckets; from memory: without asking Redis, degraded: while Redis was away.",
            ("policy", "outcome"),
            registry=registry,
        )
        self._near = Counter(
            "ratelimit_near_limit",
            "Calls allowed by a bucket with a fifth or less left.",
            ("policy",),
            registry=registry,
        )
        self._batches = Histogram(
            "ratelimit_batch_calls", "Calls per round trip to Redis.", registry=registry, buckets=BATCHES
        )
        self._failed = Counter(
            "ratelimit_failed_scripts", "Calls that met a key that holds no bucket.", registry=registry
        )
        self._policies = Info("ratelimit_policies", "The policies in force.", registry=registry)
        self._file_usable = Gauge(
            "ratelimit_policy_file_usable", "Whether the newest file is in force.", registry=registry
        )
        # Looking a child up by its labels on each call would cost more than counting.
        self._children: dict[tuple[str, str], Counter] = {}

    def batch(self, calls: int) -> None:
        """Note a round trip."""
        self._batches.observe(calls)

    def failed(self) -> None:
        """Note a script that failed."""
        self._failed.inc()

    def policies(self, version: str, *, file_usable: bool) -> None:
        """Note which policies are in force, and whether the file as it is now is what they come from."""
        self._policies.info({"version": version})
        self._file_usable.set(file_usable)

    def decided(self, asks: Asks, answers: Answers, suffix: str = "") -> None:
        """Note the answers to some asks; `suffix` says what else than Redis gave them."""
        tally: dict[Limit, tuple[int, int, int]] = {}
        start = 0
        for limit, _, count in asks.runs:
            waits, left = answers.retry[start : start + count], answers.remaining[start : start + count]
            passed, near = waits.count(0), 0
            if min(left) <= limit.near:
                near = sum(not wait and remaining <= limit.near for wait, remaining in zip(waits, left, strict=True))
            before = tally.get(limit, (0, 0, 0))
            tally[limit] = before[0] + passed, before[1] + count - passed, before[2] + near
            start += count
        for limit, (passed, denied, near) in tally.items():
            self._count(limit, passed, denied, near, suffix)

    def decided_one(self, ask: Ask, answer: Answer, suffix: str = "") -> None:
        """Note the answer to one ask."""
        passed = answer.allowed
        self._count(ask.limit, passed, 1 - passed, passed and answer.remaining <= ask.limit.near, suffix)

    def _count(self, limit: Limit, passed: int, denied: int, near: int, suffix: str) -> None:
        if passed:
            self._child(limit.policy, ALLOWED + suffix).inc(passed)
        if denied:
            self._child(limit.policy, (SHADOW_DENIED if limit.shadow else DENIED) + suffix).inc(denied)
        if near:
            self._near.labels(limit.policy).inc(near)

    def _child(self, policy: str, outcome: str) -> Counter:
        child = self._children.get((policy, outcome))
        if child is None:
            child = self._children[policy, outcome] = self._decisions.labels(policy, outcome)
        return child
