"""Metrics of HTTP connections."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

LISTENER = "listener"


class HttpMetrics:
    """Connections by listener, which is `public` or `admin`: how many are open, how many were cut and why."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge("wingmanmatch_http_connections", "Open HTTP connections.", (LISTENER,), registry=registry)
        self._cut = Counter(
            "wingmanmatch_http_connections_cut",
            "HTTP connections closed because they were too slow, or one too many.",
            (LISTENER, "reason"),
            registry=registry,
        )

    def watch(self, listener: str, count: Callable[[], float]) -> Callable[[str], None]:
        """Show a listener's open connections from now on, and return what counts one that was cut for a reason."""
        self._open.labels(listener).set_function(count)
        return lambda reason: self._cut.labels(listener, reason).inc()
