"""One set of metrics of several workers': every sample gets the label `worker`.

Kept apart and not summed, so that a gauge stays what it is and a restarted worker's counters start anew, as
Prometheus expects of a process. There are as many series as workers' own, times the number of workers.
"""

from collections.abc import Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

LABEL = "worker"


def merge(expositions: Mapping[str, str]) -> Iterable[Metric]:
    """Return the metric families of several OpenMetrics texts, by the worker whose they are."""
    merged: dict[str, Metric] = {}
    for worker, text in expositions.items():
        for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
            into = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type, family.unit))
            for sample in family.samples:
                into.samples.append(sample._replace(labels={LABEL: worker, **sample.labels}))
    return merged.values()
