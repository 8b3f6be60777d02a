"""What somebody has who installs the client and nothing else."""

import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.consumers import add, requirements
from support.protos import REPOSITORY
from support.served import BIN, Served, served

EXAMPLES = REPOSITORY / "clients" / "python" / "examples"

# Over TLS with a key, by both faces; what is not there and what it imports is told.
CALLS = """
import asyncio, importlib.util, sys, uuid
from wingmanmatch_client import PermissionDenied, Tls, Unauthenticated, Unavailable, connect, connect_sync
from wingmanmatch_client.testing import ServerNotStarted, serving

target, key, ca = sys.argv[1:]
tls, user = Tls(ca_file=ca), str(uuid.uuid4())


async def ask() -> None:
    async with connect(target, api_key=key, tls=tls) as client:
        answer = await client.session.create_session(user_id=user, data={"theme": "dark"})
        print(answer.session.data["theme"])
        try:
            await client.system.get_status()
        except PermissionDenied as error:
            print(error.reason)


asyncio.run(ask())
with connect_sync(target, api_key=key, tls=tls) as client:
    print(len(list(client.session.iter_sessions(user_id=user))))
with connect_sync(target, tls=tls) as client:
    try:
        client.session.list_sessions(user_id=user)
    except Unauthenticated as error:
        print(error.reason)
for trust in (True, False):
    with connect_sync(target, api_key=key, tls=trust) as client:
        try:
            client.session.list_sessions(user_id=user, timeout=1)
        except Exception as error:
            print(error.code.name in ("UNAVAILABLE", "DEADLINE_EXCEEDED"))
print([name for name in sys.modules if name.startswith("wingmanmatch_server")])
print([name for name in ("asyncpg", "pydantic", "typer", "redis", "protovalidate") if importlib.util.find_spec(name)])
try:
    with serving():
        pass
except ServerNotStarted as error:
    print(error)
"""

# A line that a type checker must refuse says so.
WRONG = """
from datetime import timedelta
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch_client import Client, SyncClient


async def calls(client: Client, waiting: SyncClient) -> None:
    await client.matching.get_profile()  # wrong
    await client.matching.get_profile(user_id=1)  # wrong
    await client.matching.get_profile(user="ada")  # wrong
    await client.matching.reqest_match(user_id="ada")  # wrong
    (await client.matching.get_profile(user_id="ada")).profil  # wrong
    (await client.matching.get_profile(user_id="ada")).profile
    client.matching.get_profile(user_id="ada").profile  # wrong
    await client.matching.respond_to_match(match_id="m", user_id="u", response="ACCEPT")  # wrong
    await client.matching.respond_to_match(
        match_id="m", user_id="u", response=matching_pb2.MATCH_RESPONSE_ACCEPT, timeout=3
    )
    async for candidate in client.matching.iter_candidates(user_id="ada"):
        candidate.state  # wrong
        candidate.distance_miles.is_integer()
    waiting.session.create_session(user_id="ada", ttl=timedelta(hours=1), data={"a": [1]})
    waiting.session.create_session(user_id="ada", ttl=3600)  # wrong
    waiting.matching.list_matches(user_id="ada", states=["PENDING"])  # wrong
    for message in waiting.matching.watch_matches(user_id="ada"):
        message.kind  # wrong
        message.event.kind
    async for message in waiting.matching.watch_matches(user_id="ada"):  # wrong
        pass
"""


def test_only_the_client_is_installed(wheel: Path, consumer: Path) -> None:
    """gRPC, protobuf and what status details need; nothing of the server's."""
    needed = {"googleapis-common-protos", "grpcio", "grpcio-status", "protobuf"}
    assert requirements(wheel) == needed | {"typing-extensions"}
    (packages,) = consumer.parents[1].glob("lib/python*/site-packages")
    installed = {path.name.partition("-")[0].replace("_", "-") for path in packages.glob("*.dist-info")}
    assert installed - {"types-protobuf"} == needed | {"typing-extensions", "wingmanmatch"}


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """The files of a server's certificate, and of the authority that issued it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    return tmp_path


@pytest.fixture
def credentials() -> tuple[str, str]:
    """A key as an operator makes it, and its entry."""
    command = [BIN / "wingmanmatch", "keys", "create", "shop", "--scope", "session"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    key, entry = re.findall(r"^  (wmk_\S+|shop:\S+)$", said, re.MULTILINE)
    return key, entry


@pytest.fixture
def secured(authority: Path, credentials: tuple[str, str], tmp_path: Path) -> Iterator[Served]:
    """A server that asks for TLS and a key."""
    files = {"TLS_CERT_FILE": str(authority / "cert.pem"), "TLS_KEY_FILE": str(authority / "key.pem")}
    with served(tmp_path / "data", API_KEYS=credentials[1], GRPC_LISTEN="localhost:0", **files) as server:
        yield server


def test_calls_over_tls_with_a_key(
    consumer: Path, secured: Served, authority: Path, credentials: tuple[str, str], tmp_path: Path
) -> None:
    """A back end that has the client alone talks to a server; who shows no key or trusts nobody does not."""
    program = tmp_path / "calls.py"
    program.write_text(CALLS)
    command = [consumer, "-I", program, secured.grpc, credentials[0], authority / "ca.pem"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    *told, missing = run.stdout.splitlines()
    assert told == ["dark", "ACCESS_DENIED", "1", "CREDENTIAL_INVALID", "True", "True", "[]", "[]"]
    assert "pip install 'wingmanmatch[server,embedded]'" in missing


def readme() -> str:
    """Return the README's Python, each block in a function whose arguments are what the text speaks of."""
    blocks = re.findall(r"```python\n(.+?)```", (EXAMPLES.parent / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) > 5
    spoken_of = "client: Client, waiting: SyncClient, key: str, ada: str, match_id: str, token: str"
    functions = [
        f"async def block{number}({spoken_of}) -> None:\n{textwrap.indent(block, '    ')}"
        for number, block in enumerate(blocks)
    ]
    return "\n".join(["from wingmanmatch_client import Client, SyncClient, connect_sync", *functions])


def test_types_hold_in_a_users_project(consumer: Path, tmp_path: Path) -> None:
    """Strict checking takes the examples and the README as they are, and refuses each call that is wrong."""
    add(consumer, "types-protobuf")
    wrong, right = tmp_path / "wrong.py", tmp_path / "readme.py"
    wrong.write_text(WRONG)
    right.write_text(readme())
    command = [BIN / "mypy", "--strict", "--config-file=", "--no-error-summary", "--hide-error-context"]
    options = ["--python-executable", consumer, "--cache-dir", tmp_path / "cache"]
    files = [wrong, right, *EXAMPLES.glob("*.py")]
    run = subprocess.run([*command, *options, *files], cwd=tmp_path, capture_output=True, text=True)
    refused = {int(line) for line in re.findall(r"^wrong\.py:(\d+): error", run.stdout, re.MULTILINE)}
    expected = {number for number, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")}
    assert refused == expected, run.stdout + run.stderr
    assert len(re.findall(r": error:", run.stdout)) == len(expected), textwrap.indent(run.stdout, "  ")
