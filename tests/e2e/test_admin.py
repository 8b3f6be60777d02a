"""ADMIN_LISTEN: what monitoring and probes read."""

import gzip
import json
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from support.served import Served


def get(url: str, **headers: str) -> tuple[int, bytes]:
    """Return the status and the body of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_metrics_are_told(server: Served) -> None:
    """Prometheus reads the process's metrics, without a second series that says when each began."""
    status, body = get(server.metrics)
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert status == 200
    assert families["grpc_server_handled"].samples
    assert families["wingmanmatch_http_connections"].samples
    assert b"_created" not in body


def test_metrics_are_compressed_for_who_asks(server: Served) -> None:
    """Who accepts gzip gets the same metrics in a tenth of the bytes."""
    _, body = get(server.metrics)
    _, compressed = get(server.metrics, **{"Accept-Encoding": "gzip"})
    names = {line.partition(b" ")[0] for line in gzip.decompress(compressed).splitlines()}
    assert names == {line.partition(b" ")[0] for line in body.splitlines()}
    assert len(compressed) * 10 < len(body)


def test_openmetrics_is_spoken(server: Served) -> None:
    """The format is the one that Prometheus asks for."""
    _, body = get(server.metrics, Accept="application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_probes_say_that_it_is_ready(server: Served) -> None:
    """A serving process is alive and ready, and names the health of each service."""
    assert get(f"{server.admin}/livez") == (200, b"ok\n")
    assert get(f"{server.admin}/readyz") == (200, b"ok\n")
    status, body = get(f"{server.admin}/healthz")
    report = json.loads(body)
    assert (status, report["ready"]) == (200, True)
    assert report["services"]["wingmanmatch.matching.v1.MatchingService"] is True


def test_public_address_has_none_of_it(server: Served) -> None:
    """Metrics and probes are not at HTTP_LISTEN, and the administrator's address has no pages."""
    for path in ("metrics", "livez", "readyz", "healthz"):
        assert get(f"{server.http}/{path}")[0] == 404
    assert get(f"{server.admin}/unsubscribe/x")[0] == 404
