"""Decisions as Prometheus sees them. Labels are names of policies and outcomes, never of whoever is limited."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from wingmanmatch_server.ratelimit.policies import Limit
from wingmanmatch_server.ratelimit.token_bucket import Answer, Ask

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
        self._malformed = Counter("ratelimit_malformed_buckets", "Keys that held no bucket.", registry=registry)
        self._failed = Counter("ratelimit_failed_scripts", "Calls that failed inside Redis.", registry=registry)
        self._policies = Info("ratelimit_policies", "The policies in force.", registry=registry)
        self._file_usable = Gauge(
            "ratelimit_policy_file_usable", "Whether the newest file is in force.", registry=registry
        )
        # Looking a child up by its labels on each call would cost more than counting.
        self._children: dict[tuple[str, str], Counter] = {}

    def batch(self, calls: int) -> None:
        """Note a round trip."""
        self._batches.observe(calls)

    def malformed(self, count: int) -> None:
        """Note keys that held something else than a bucket."""
        self._malformed.inc(count)

    def failed(self) -> None:
        """Note a script that failed."""
        self._failed.inc()

    def policies(self, version: str, *, file_usable: bool) -> None:
        """Note which policies are in force, and whether the file as it is now is what they come from."""
        self._policies.info({"version": version})
        self._file_usable.set(file_usable)

    def decided(self, asks: Sequence[Ask], answers: Sequence[Answer], suffix: str = "") -> None:
        """Note the answers to some asks; `suffix` says what else than Redis gave them."""
        tally: dict[tuple[Limit, bool, bool], int] = {}
        for (_, limit, _), (allowed, remaining, _, _) in zip(asks, answers, strict=True):
            kind = limit, allowed == 1, remaining <= limit.near
            tally[kind] = tally.get(kind, 0) + 1
        for kind, count in tally.items():
            self._count(*kind, suffix, count)

    def decided_one(self, ask: Ask, answer: Answer, suffix: str = "") -> None:
        """Note the answer to one ask."""
        self._count(ask.limit, answer.allowed == 1, answer.remaining <= ask.limit.near, suffix, 1)

    def _count(self, limit: Limit, allowed: bool, near: bool, suffix: str, count: int) -> None:  # noqa: FBT001
        outcome = ALLOWED if allowed else SHADOW_DENIED if limit.shadow else DENIED
        child = self._children.get((limit.policy, outcome + suffix))
        if child is None:
            child = self._decisions.labels(limit.policy, outcome + suffix)
            self._children[limit.policy, outcome + suffix] = child
        child.inc(count)
        if near and allowed:
            self._near.labels(limit.policy).inc(count)
