"""`wingmanmatch call`, as a person runs it."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trustme

from support.credentials import ENTRY, KEY
from support.served import BIN, Served, served

USER = "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0077"
PROFILE = f"""{{"profile": {{"user_id": "{USER}", "email": "ivy@example.org", "firstName": "Ivy",
  "experience_level": "EXPERIENCE_LEVEL_BEGINNER", "confidence_archetype": "CONFIDENCE_ARCHETYPE_GHOST",
  "location": {{"latitude": -48.2, "longitude": 16.37}}}}}}"""
MATCHING = "wingmanmatch.matching.v1.MatchingService"


def call(*arguments: str, text: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command with `text` on standard input."""
    inherited = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    command = [BIN / "wingmanmatch", "call", *arguments]
    return subprocess.run(command, input=text, env=inherited | environment, capture_output=True, text=True, timeout=60)


def answer(*arguments: str, text: str = "", **environment: str) -> str:
    """Run the command, which must succeed and complain of nothing, and return what it printed."""
    completed = call(*arguments, text=text, **environment)
    assert (completed.returncode, completed.stderr) == (0, ""), completed.stderr
    return completed.stdout


@pytest.fixture(scope="module")
def target(server: Served) -> str:
    """A server that has Ivy's profile, made by the command from standard input."""
    made = answer(f"{MATCHING}/UpsertProfile", "-d", "@", "--target", server.grpc, text=PROFILE)
    assert json.loads(made)["profile"]["first_name"] == "Ivy"
    return server.grpc


@pytest.mark.parametrize(
    "name", [f"{MATCHING}/GetProfile", f"{MATCHING}.GetProfile", "MatchingService/GetProfile", "GetProfile"]
)
def test_method_is_known_by_every_unambiguous_name(target: str, name: str) -> None:
    """A whole name, in either spelling, and the end of one lead to the same method; the target may be a setting."""
    got = json.loads(answer(name, "-d", json.dumps({"user_id": USER}), GRPC_LISTEN=target))
    assert got["profile"]["user_id"] == USER
    assert "city" not in got["profile"]


def test_defaults_are_printed_where_asked_for(target: str) -> None:
    """`--emit-defaults` shows empty fields too."""
    got = answer("GetProfile", "-d", json.dumps({"user_id": USER}), "--target", target, "--emit-defaults")
    assert json.loads(got)["profile"]["city"] == ""


def test_stream_prints_one_object_a_line(target: str) -> None:
    """A server's stream comes line by line, and two requests of a client's stream stand one after the other."""
    records = [
        json.loads(line)
        for line in answer("ExportProfile", "-d", f'{{"user_id": "{USER}"}}', "--target", target).splitlines()
    ]
    assert records[0]["kind"] == "EXPORT_RECORD_KIND_PROFILE"
    check = '{"check": {"descriptors": [{"policy": "%s", "subject": "call"}]}}'
    text = check % "public_api" + "\n" + check % "no_such_policy"
    lines = answer("StreamCheckRateLimit", "-d", text, "--target", target).splitlines()
    assert [list(json.loads(line)) for line in lines] == [["check"], ["error"]]


def test_open_stream_is_read_as_it_comes_and_ends_at_max_time(target: str) -> None:
    """What came before the end of the time is printed, and the end is told."""
    completed = call("WatchMatches", "-d", f'{{"user_id": "{USER}"}}', "--target", target, "--max-time", "2")
    assert json.loads(completed.stdout)["resume_token"]
    assert completed.returncode == 64 + grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert completed.stderr.startswith("DEADLINE_EXCEEDED")


def test_error_tells_code_reason_and_details(target: str) -> None:
    """An error is read at a glance, and scripts know it by the exit code that grpcurl would have."""
    missing = "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0078"
    completed = call("GetProfile", "-d", f'{{"user_id": "{missing}"}}', "--target", target)
    assert completed.returncode == 64 + grpc.StatusCode.NOT_FOUND.value[0]
    assert completed.stdout == ""
    assert completed.stderr == (
        f"NOT_FOUND PROFILE_NOT_FOUND\n  no profile exists for this user_id\n  user_id: {missing}\n"
    )
    completed = call("GetProfile", "-d", '{"user_id": "42"}', "--target", target)
    assert "INVALID_ARGUMENT FIELD_INVALID" in completed.stderr
    assert "  field user_id: must be a valid UUID (string.uuid)\n" in completed.stderr


def test_spent_limit_tells_when_to_come_back(target: str) -> None:
    """The delay of a spent limit is told in seconds."""
    for _ in range(6):
        completed = call("RequestMatch", "-d", f'{{"user_id": "{USER}"}}', "--target", target)
    assert "RESOURCE_EXHAUSTED RATE_LIMITED" in completed.stderr
    assert "  policy: match_request\n" in completed.stderr
    assert "  retry after " in completed.stderr


def test_server_that_is_not_there_is_a_sentence() -> None:
    """Nobody at the target is UNAVAILABLE, and nothing more than that."""
    completed = call("GetStatus", "--target", "127.0.0.1:1")
    assert completed.returncode == 64 + grpc.StatusCode.UNAVAILABLE.value[0]
    assert completed.stderr.startswith("UNAVAILABLE\n")
    assert "Traceback" not in completed.stderr


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (("GetProfil",), ("there is no method GetProfil", "GetProfile")),
        (("ResolveShareLink",), ("MatchingService/ResolveShareLink", "ChallengeService/ResolveShareLink")),
        (("GetProfile", "-d", "{"), ("no JSON",)),
        (("GetProfile", "-d", "[]"), ("JSON object", "[]")),
        (("GetProfile", "-d", '{"user": 1}'), ("GetProfileRequest", "user")),
        (("GetProfile", "-d", "{}{}"), ("one request", "2")),
        (("GetStatus", "--cacert", "/nowhere/ca.pem"), ("/nowhere/ca.pem",)),
        (("describe", "Nothing"), ("there is no service, method, message or enum Nothing",)),
    ],
)
def test_wrong_use_is_a_sentence(arguments: tuple[str, ...], sentences: tuple[str, ...]) -> None:
    """What is wrong with the command is said before anything is called."""
    completed = call(*arguments)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert "Traceback" not in completed.stderr
    for sentence in sentences:
        assert sentence in completed.stderr


def test_list_and_describe_need_no_server() -> None:
    """Services, a service's methods, a method with its policy, a message with its rules, an enum."""
    assert MATCHING in answer("list").splitlines()
    assert "grpc.health.v1.Health" in answer("list").splitlines()
    assert f"{MATCHING}/RequestMatch" in answer("list", "MatchingService").splitlines()
    method = answer("describe", "RequestMatch")
    for expected in (
        'rate_limit: "match_request"',
        "access: ACCESS_USER",
        "string user_id = 1 [string { uuid: true }];",
    ):
        assert expected in method
    assert "MATCH_STATE_ACCEPTED = 2;" in answer("describe", "MatchState")
    assert "rpc GetProfile(" in answer("describe", MATCHING)
    assert "optional double radius_miles" in answer("describe", "RequestMatchRequest")


@pytest.fixture(scope="module")
def tls_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a server and a client, and of the authority of both."""
    folder, authority = tmp_path_factory.mktemp("call"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("localhost", "client"):
        certificate = authority.issue_cert(name)
        certificate.private_key_pem.write_to_path(folder / f"{name}-key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def tls_target(tls_folder: Path) -> Iterator[str]:
    """A server that serves TLS and asks for a key or a certificate."""
    settings = {
        "TLS_CERT_FILE": tls_folder / "localhost.pem",
        "TLS_KEY_FILE": tls_folder / "localhost-key.pem",
        "TLS_CLIENT_CA_FILE": tls_folder / "ca.pem",
    }
    environment = {name: str(path) for name, path in settings.items()}
    entries = f"{ENTRY.line()},client:ratelimit:certificate"
    with served(tls_folder / "data", API_KEYS=entries, **environment) as server:
        yield f"localhost:{server.grpc.rpartition(':')[2]}"


def test_tls_certificates_and_keys(tls_target: str, tls_folder: Path) -> None:
    """The authority, a client's certificate, a key out of the environment, and a header, which wins."""
    files = ("--cacert", "ca.pem", "--cert", "client.pem", "--key", "client-key.pem")
    paths = [str(tls_folder / each) if each.endswith(".pem") else each for each in files]
    known = ("ListPolicies", "--target", tls_target, *paths)
    assert "public_api" in answer(*known)
    assert "public_api" in answer(*known, WINGMANMATCH_API_KEY=KEY)
    refused = call(*known, "-H", "Authorization: Bearer forged", WINGMANMATCH_API_KEY=KEY)
    assert "UNAUTHENTICATED CREDENTIAL_INVALID" in refused.stderr
    assert call("ListPolicies", "--target", tls_target).returncode == 64 + grpc.StatusCode.UNAVAILABLE.value[0]
