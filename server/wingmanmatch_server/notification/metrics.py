"""Deliveries as Prometheus sees them."""

from prometheus_client import CollectorRegistry, Counter

from wingmanmatch_server.notification.mailer import Outcome


class NotificationMetrics:
    """Counts what became of each attempt to deliver. Labels are kinds and outcomes, never addresses."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = Counter(
            "notification_delivery_attempts", "Attempts to deliver.", ("kind", "outcome"), registry=registry
        )
        self._held = Counter(
            "notifications_held",
            "Emails held for a digest because their address got as many as it may.",
            ("kind",),
            registry=registry,
        )

    def attempted(self, kind: str, outcome: Outcome) -> None:
        """Note an attempt."""
        self._attempts.labels(kind, str(outcome)).inc()

    def held(self, kind: str) -> None:
        """Note an email that is held for a digest."""
        self._held.labels(kind).inc()
