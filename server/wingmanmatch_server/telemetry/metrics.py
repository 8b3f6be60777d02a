"""Metrics, for Prometheus. The names of the RPC metrics are those that gRPC dashboards already know."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

CIRCUIT_LABELS = ("dependency",)
RPC_LABELS = ("grpc_service", "grpc_method")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class RpcMetrics:
    """Calls by service, method and status, and how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_flight = Gauge("wingmanmatch_rpcs_in_flight", "RPCs whose handlers run.", registry=registry)
        self._overloaded = Counter("wingmanmatch_rpcs_overloaded", "RPCs refused for want of room.", registry=registry)
        self._handled = Counter("grpc_server_handled", "RPCs completed.", (*RPC_LABELS, "grpc_code"), registry=registry)
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Seconds until an RPC completed.",
            RPC_LABELS,
            registry=registry,
            buckets=SECONDS,
        )

    def in_flight(self, count: Callable[[], float]) -> None:
        """Tell, whenever asked, how many RPCs are under way."""
        self._in_flight.set_function(count)

    def overloaded(self) -> None:
        """Note that a call was refused for want of room."""
        self._overloaded.inc()

    def counter(self, service: str, method: str, code: str) -> Callable[[], None]:
        """Return what counts one completed call."""
        return self._handled.labels(service, method, code).inc

    def seconds(self, service: str, method: str) -> Callable[[float], None]:
        """Return what records the seconds that one call took."""
        return self._seconds.labels(service, method).observe


class CircuitMetrics:
    """Changes of state of circuit breakers, which are open, and retries."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = Counter(
            "wingmanmatch_circuit_changes", "Changes of state.", ("dependency", "state"), registry=registry
        )
        self._open = Gauge(
            "wingmanmatch_circuit_open", "1 while calls are refused.", ("dependency",), registry=registry
        )
        self._retries = Counter(
            "wingmanmatch_retries", "Calls of a dependency made again.", ("dependency",), registry=registry
        )

    def watch(self, dependency: str) -> None:
        """Show a breaker from now on: closed, with no changes yet."""
        self._open.labels(dependency).set(0)
        self._retries.labels(dependency)

    def retried(self, dependency: str) -> None:
        """Note that a call is made again."""
        self._retries.labels(dependency).inc()

    def changed(self, dependency: str, state: str) -> None:
        """Note that a breaker changed to a state."""
        self._changes.labels(dependency, state).inc()
        self._open.labels(dependency).set(state == "open")


class LogMetrics(Collector):
    """Log lines that were dropped."""

    def __init__(self, registry: CollectorRegistry, dropped: Callable[[], int]) -> None:
        """`dropped` returns how many lines were dropped since the start."""
        self._dropped = dropped
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Return the counter, read at this moment."""
        said = "Log lines dropped because standard error did not take them."
        yield CounterMetricFamily("wingmanmatch_log_lines_dropped", said, self._dropped())
