"""Deliveries as Prometheus sees them."""

from prometheus_client import CollectorRegistry, Counter

from wingmanmatch_server.notification.mailer import Outcome


class NotificationMetrics:
    """Counts what became of each attempt to deliver. Labels are kinds and outcomes, never addresses."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = Counter(
            "notification_delivery_attempts", "Attempts to deliver.", ("kind", "outcome"), registry=registry
        )

    def attempted(self, kind: str, outcome: Outcome) -> None:
        """Note an attempt."""
        self._attempts.labels(kind, str(outcome)).inc()
