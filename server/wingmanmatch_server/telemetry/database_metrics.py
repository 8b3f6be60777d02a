"""Metrics of the database's bulkheads."""

from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

S = TypeVar("S", bound=str)
LABELS = ("share",)


class DatabaseMetrics:
    """Calls of the database by the share of its connections: in use, waiting, refused."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_use = Gauge(
            "wingmanmatch_database_calls_in_use",
            "Database calls under way; for the shares user and function, of the one that has most.",
            LABELS,
            registry=registry,
        )
        self._waiting = Gauge(
            "wingmanmatch_database_calls_waiting", "Database calls that wait for a share.", LABELS, registry=registry
        )
        self._refused = Counter(
            "wingmanmatch_database_calls_refused",
            "Database calls refused because a share stayed full.",
            LABELS,
            registry=registry,
        )

    def watch(self, share: S, *, in_use: Callable[[S], float], waiting: Callable[[S], float]) -> None:
        """Show a share from now on; the functions are asked whenever the metrics are read."""
        self._in_use.labels(share).set_function(lambda: in_use(share))
        self._waiting.labels(share).set_function(lambda: waiting(share))
        self._refused.labels(share)

    def refused(self, share: str) -> None:
        """Note that a call was refused."""
        self._refused.labels(share).inc()
