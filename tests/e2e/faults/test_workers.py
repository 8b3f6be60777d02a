"""`WORKERS=2 wingmanmatch serve`: two processes that serve, one that looks after them."""

import json
import re
import signal
import socket
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from support.served import Served, refusal, served
from wingmanmatch.system.v1 import system_service_pb2, system_service_pb2_grpc
from wingmanmatch_server.notification.render import FIELDS
from wingmanmatch_server.notification.unsubscribe import UnsubscribeLinks

SIGNING_SECRET = "a secret of the test's own that is long enough"
METHOD = {"grpc_service": "wingmanmatch.system.v1.SystemService", "grpc_method": "GetStatus"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A server of two workers."""
    links = {"PUBLIC_URL": "http://127.0.0.1", "SIGNING_SECRET": SIGNING_SECRET}
    with served(tmp_path, WORKERS="2", DRAIN_DELAY="60", SHUTDOWN_GRACE="5", **links) as server:
        yield server


def addresses(server: Served) -> list[str]:
    """Return where the workers answer gRPC."""
    listed = re.search(r"gRPC((?: +127\.0\.0\.1:\d+\n)+)", server.said)
    assert listed
    return listed[1].split()


def workers(server: Served) -> list[psutil.Process]:
    """Return the processes of the workers."""
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if child.cmdline()[-1:] == ["worker"]]


def call(address: str) -> None:
    """Make one call."""
    with grpc.insecure_channel(address) as channel:
        stub = system_service_pb2_grpc.SystemServiceStub(channel)
        stub.GetStatus(system_service_pb2.GetStatusRequest(), timeout=10, wait_for_ready=True)


def health(address: str) -> int:
    """Return what the worker at an address says of itself."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status)


def sample(server: Served, name: str, **labels: str) -> dict[str, float]:
    """Return a metric's value for each worker."""
    with urllib.request.urlopen(server.metrics, timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        found.labels["worker"]: found.value
        for family in families
        for found in family.samples
        if found.name == name and labels.items() <= found.labels.items()
    }


def test_metrics_of_all_workers_are_at_one_address(server: Served) -> None:
    """Each worker's calls are told apart, and their sum is what was called."""
    first, second = addresses(server)
    for address in (first, first, first, second):
        call(address)
    handled = sample(server, "grpc_server_handled_total", grpc_code="OK", **METHOD)
    assert handled == {"0": 3, "1": 1}
    assert sample(server, "wingmanmatch_worker_up") == {"0": 1, "1": 1}


def test_metric_families_stand_once(server: Served) -> None:
    """A family that the supervisor and the workers have is one family."""
    with urllib.request.urlopen(server.metrics, timeout=10) as answer:
        types = [line.split()[2] for line in answer.read().decode().splitlines() if line.startswith("# TYPE")]
    assert "wingmanmatch_http_connections" in types
    assert len(types) == len(set(types))


def test_http_reaches_every_worker(server: Served) -> None:
    """What a single process serves by HTTP is served by whichever worker's turn it is, and so are its errors."""
    link = UnsubscribeLinks(server.http, [SIGNING_SECRET], list(FIELDS))
    for _ in range(4):
        with urllib.request.urlopen(link.url(str(uuid.uuid4()), next(iter(FIELDS))), timeout=10) as answer:
            assert b"Fewer mails?" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{server.http}/unknown", timeout=10)


def test_probes_speak_for_all_workers(server: Served) -> None:
    """The server is ready while a worker is; which ones are, it says in detail."""
    for path, body in (("livez", b"ok\n"), ("readyz", b"ok\n")):
        with urllib.request.urlopen(f"{server.admin}/{path}", timeout=10) as answer:
            assert answer.read() == body
    with urllib.request.urlopen(f"{server.admin}/healthz", timeout=10) as answer:
        report = json.load(answer)
    assert report["ready"] is True
    assert [report["workers"][worker]["ready"] for worker in "01"] == [True, True]


def test_killed_worker_comes_back(server: Served) -> None:
    """A worker killed by force is replaced on its port, while the other is the same process and serves."""
    first, second = addresses(server)
    before = {worker.pid for worker in workers(server)}
    victim = next(worker for worker in workers(server) if listens(worker, first))
    victim.kill()
    call(second)
    call(first)  # waits until something answers there
    after = {worker.pid for worker in workers(server)}
    assert before - after == {victim.pid}
    assert len(after - before) == 1
    assert sample(server, "wingmanmatch_worker_restarts_total") == {"0": 1}
    assert sample(server, "wingmanmatch_worker_up") == {"0": 1, "1": 1}


def listens(process: psutil.Process, address: str) -> bool:
    """Return whether a process listens on an address."""
    port = int(address.rpartition(":")[2])
    return any(each.laddr.port == port for each in process.net_connections() if each.status == psutil.CONN_LISTEN)


def test_sigterm_drains_every_worker(server: Served) -> None:
    """After SIGTERM all workers are NOT_SERVING and serve; a second signal ends the wait, in good order."""
    deadline = time.monotonic() + 20
    server.process.send_signal(signal.SIGTERM)
    for address in addresses(server):
        while health(address) != health_pb2.HealthCheckResponse.NOT_SERVING:
            assert time.monotonic() < deadline
        call(address)
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"{server.admin}/readyz", timeout=10)
    left = workers(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert not any(worker.is_running() for worker in left)


def test_workers_end_with_a_killed_supervisor(server: Served) -> None:
    """Workers whose supervisor was killed by force drain and end by themselves."""
    left = workers(server)
    server.process.kill()
    server.process.wait()
    for address in addresses(server):
        deadline = time.monotonic() + 20
        while health(address) != health_pb2.HealthCheckResponse.NOT_SERVING:
            assert time.monotonic() < deadline
    for worker in left:
        worker.terminate()
    gone, alive = psutil.wait_procs(left, timeout=30)
    assert (len(gone), alive) == (2, [])


def test_worker_that_cannot_start_ends_the_server(tmp_path: Path) -> None:
    """A taken port among the workers' ends the start with the worker's own sentence and the supervisor's."""
    with socket.socket() as first, socket.socket() as other:
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        other.bind(("127.0.0.1", port + 1))
        other.listen()
        first.close()
        said = refusal(
            "serve",
            DATA_DIR=str(tmp_path),
            WORKERS="2",
            GRPC_LISTEN=f"127.0.0.1:{port}",
            HTTP_LISTEN="127.0.0.1:0",
            ADMIN_LISTEN="127.0.0.1:0",
        )
    assert f"127.0.0.1:{port + 1} is taken by another program" in said
    assert f"worker 1 (127.0.0.1:{port + 1}) ended with status 1 before it answered" in said
