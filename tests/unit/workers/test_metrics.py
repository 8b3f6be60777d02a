"""Metrics of several workers made one."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.openmetrics.exposition import generate_latest

from wingmanmatch_server.workers.metrics import merge


def exposition(calls: int) -> str:
    """Return what a worker tells that had so many calls."""
    registry = CollectorRegistry()
    Counter("calls", "Calls.", ("method",), registry=registry).labels("Get").inc(calls)
    Gauge("busy", "Busy.", registry=registry).set(calls)
    Histogram("seconds", "Seconds.", registry=registry, buckets=(1,)).observe(calls)
    return generate_latest(registry).decode()


def values(families: list[Metric], sample: str) -> dict[str, float]:
    """Return a sample's value for each worker."""
    return {
        found.labels["worker"]: found.value for family in families for found in family.samples if found.name == sample
    }


def test_every_worker_keeps_its_own() -> None:
    """Each family appears once, with every worker's samples under its label."""
    families = list(merge({"0": exposition(2), "1": exposition(5)}))
    assert [(family.name, family.type) for family in families] == [
        ("calls", "counter"),
        ("busy", "gauge"),
        ("seconds", "histogram"),
    ]
    assert values(families, "calls_total") == {"0": 2, "1": 5}
    assert values(families, "busy") == {"0": 2, "1": 5}
    assert values(families, "seconds_count") == {"0": 1, "1": 1}


def test_worker_that_lacks_a_family() -> None:
    """What only one worker tells is told with its label alone."""
    registry = CollectorRegistry()
    Gauge("other", "Other.", registry=registry).set(1)
    families = list(merge({"0": exposition(2), "1": generate_latest(registry).decode()}))
    assert values(families, "other") == {"1": 1}
    assert values(families, "busy") == {"0": 2}
