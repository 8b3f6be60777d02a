"""`wingmanmatch serve`: what it says, what survives, and what it leaves behind."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

from support.served import BIN, Served, refusal, served, start

SERVICE = "wingmanmatch.matching.v1.MatchingService"
PORTS = {"ADMIN_LISTEN": "127.0.0.1:0", "GRPC_LISTEN": "127.0.0.1:0", "HTTP_LISTEN": "127.0.0.1:0"}
ADA = str(uuid.uuid4())
PROFILE = f"""{{"profile": {{"user_id": "{ADA}", "email": "ada@example.org", "first_name": "Ada",
  "experience_level": "EXPERIENCE_LEVEL_BEGINNER", "confidence_archetype": "CONFIDENCE_ARCHETYPE_SCHOLAR",
  "location": {{"latitude": 48.2, "longitude": 16.37}}}}}}"""


def grpcurl(*arguments: str) -> str:
    """Run the real grpcurl and return what it printed."""
    completed = subprocess.run([BIN / "grpcurl", "-plaintext", *arguments], capture_output=True, text=True, timeout=30)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def processes_below(folder: Path) -> list[int]:
    """Return the processes whose command line names the folder: its engines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                str(folder).encode() in (process / "cmdline").read_bytes()
                and "State:\tZ" not in (process / "status").read_text()
            ):
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def wait_until_gone(folder: Path) -> None:
    """Wait until no process works on the folder; fail after 15 s."""
    deadline = time.monotonic() + 15
    while left := processes_below(folder):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)


def test_start_says_what_runs_where(server: Served, served_data_dir: Path) -> None:
    """A person reads what was started, where data and mail lie, and what to type next."""
    for expected in (
        "PostgreSQL",
        "Valkey",
        str(served_data_dir / "outbox"),
        f"grpcurl -plaintext {server.grpc}",
        "demo",
    ):
        assert expected in server.said


def test_reflection_tells_grpcurl_everything(server: Served) -> None:
    """Grpcurl lists every service and describes a method with its messages."""
    services = grpcurl(server.grpc, "list").split()
    assert SERVICE in services
    assert "grpc.health.v1.Health" in services
    assert sum(service.startswith("wingmanmatch.") for service in services) == 8
    assert "RequestMatchRequest" in grpcurl(server.grpc, "describe", f"{SERVICE}.RequestMatch")
    assert "candidate_user_id" in grpcurl(server.grpc, "describe", "wingmanmatch.matching.v1.RequestMatchRequest")


@pytest.mark.parametrize("name", ["", "liveness", "readiness", SERVICE])
def test_health_is_serving(server: Served, name: str) -> None:
    """Load balancers find the process and each service SERVING."""
    assert "SERVING" in grpcurl("-d", f'{{"service": "{name}"}}', server.grpc, "grpc.health.v1.Health/Check")


def test_error_is_readable_in_grpcurl(server: Served) -> None:
    """Grpcurl prints code, reason, and the field at fault."""
    command = [BIN / "grpcurl", "-plaintext", "-d", '{"user_id": "42"}', server.grpc, f"{SERVICE}/GetProfile"]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert completed.returncode != 0
    for expected in ("InvalidArgument", "FIELD_INVALID", "user_id", "string.uuid"):
        assert expected in completed.stderr


def test_data_survive_a_restart_and_nothing_is_left_running(tmp_path: Path) -> None:
    """Ctrl-C ends everything in good order, and the next start has the data."""
    with served(tmp_path) as first:
        grpcurl("-d", PROFILE, first.grpc, f"{SERVICE}/UpsertProfile")
        assert first.interrupt() == 0
        assert processes_below(tmp_path) == []
    with served(tmp_path) as second:
        assert "Ada" in grpcurl("-d", f'{{"user_id": "{ADA}"}}', second.grpc, f"{SERVICE}/GetProfile")
        assert "migrations applied" not in second.said


def test_killed_server_takes_its_engines_along_and_recovers(tmp_path: Path) -> None:
    """After kill -9 the engines end by themselves, and the next start recovers the folder."""
    with served(tmp_path) as first:
        grpcurl("-d", PROFILE, first.grpc, f"{SERVICE}/UpsertProfile")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        wait_until_gone(tmp_path)
    with served(tmp_path) as second:
        assert "Ada" in grpcurl("-d", f'{{"user_id": "{ADA}"}}', second.grpc, f"{SERVICE}/GetProfile")


def test_second_server_on_the_folder_is_refused(server: Served, served_data_dir: Path) -> None:
    """Two servers on one data folder are one too many, and the first goes on."""
    said = refusal("serve", DATA_DIR=str(served_data_dir), **PORTS)
    assert str(served_data_dir) in said
    assert str(server.process.pid) in said
    assert SERVICE in grpcurl(server.grpc, "list")


@pytest.mark.parametrize("setting", sorted(PORTS))
def test_taken_port_is_refused(tmp_path: Path, setting: str) -> None:
    """A port that another program has, SO_REUSEPORT or not, is named with the setting that would change it."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ports = PORTS | {setting: address}
        said = refusal("serve", DATA_DIR=str(tmp_path), **ports)
    assert address in said
    assert setting in said
    assert processes_below(tmp_path) == []


def test_every_wrong_setting_is_told_at_once(tmp_path: Path) -> None:
    """All problems of the environment come in one go, and no secret among them."""
    said = refusal(
        "serve",
        DATA_DIR=str(tmp_path),
        ENVIRONMENT="production",
        GRPC_LISTEN="50051",
        MAX_DAILY_MATCHES="none",
        SUPABASE_SERVICE_KEY="hunter2",
    )
    for expected in ("GRPC_LISTEN", "MAX_DAILY_MATCHES", "SUPABASE_URL", "SUPABASE_ANON_KEY", "ANTHROPIC_API_KEY"):
        assert expected in said
    assert "hunter2" not in said
    assert "SUPABASE_SERVICE_KEY" not in said


def test_unreachable_database_is_a_sentence(tmp_path: Path) -> None:
    """A DATABASE_URL that nothing answers ends the start with a sentence that does not repeat it."""
    url = "postgresql://somebody:hunter2@127.0.0.1:1/nothing"
    said = refusal("serve", DATA_DIR=str(tmp_path), DATABASE_URL=url, **PORTS)
    assert "DATABASE_URL" in said
    assert "hunter2" not in said


def test_sigterm_drains_before_it_stops(tmp_path: Path) -> None:
    """After SIGTERM it is alive, not ready, and serves calls still; a second signal ends the wait."""
    server = start(tmp_path, DRAIN_DELAY="60")
    with server.process:
        os.kill(server.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while "NOT_SERVING" not in grpcurl(server.grpc, "grpc.health.v1.Health/Check"):
            assert time.monotonic() < deadline
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{server.admin}/readyz", timeout=10)
        with urllib.request.urlopen(f"{server.admin}/livez", timeout=10) as answer:
            assert answer.status == 200
        assert SERVICE in grpcurl(server.grpc, "list")
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.communicate(timeout=30)
    assert server.process.returncode == 0
