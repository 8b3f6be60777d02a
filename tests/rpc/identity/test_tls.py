"""TLS and client certificates, on real handshakes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from support.credentials import KEY, SETTINGS, bearer
from support.edge import MATCHING, Edge, failure_of
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.bootstrap.identity import open_identity
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.interceptors.door import guarded_handler
from wingmanmatch_server.interceptors.peer import peer_address_behind
from wingmanmatch_server.interceptors.throttle import Throttle
from wingmanmatch_server.serving import credentials_of, listening
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.health import Health

GET = f"/{MATCHING.full_name}/GetProfile"


class Notes:
    """Notes who calls, and answers nothing."""

    def __init__(self) -> None:
        self.callers: list[str] = []

    async def get_reputation(self, _request: Any, call: Call) -> Any:
        """Note the caller."""
        self.callers.append(call.caller.name)


class Authority:
    """A certificate authority, and files as an operator keeps them."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.ca.cert_pem.write_to_path(folder / "ca.pem")
        self.issue()

    def issue(self, ca: trustme.CA | None = None) -> None:
        """Write a new certificate and key of the server."""
        certificate = (ca or self.ca).issue_cert("localhost")
        certificate.private_key_pem.write_to_path(self.folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")

    def settings(self, *, mutual: bool) -> Settings:
        """Return settings that serve TLS with these files."""
        entries = f"{SETTINGS['api_keys']},billing.internal:matching:certificate"
        files = {"tls_cert_file": self.folder / "cert.pem", "tls_key_file": self.folder / "key.pem"}
        if mutual:
            files["tls_client_ca_file"] = self.folder / "ca.pem"
        return Settings(_env_file=None, **SETTINGS | {"api_keys": entries}, **files)

    def channel(self, port: int, client: trustme.LeafCert | None = None) -> grpc.aio.Channel:
        """Return a channel that trusts the authority and shows a certificate, if it has one."""
        credentials = grpc.ssl_channel_credentials(
            self.ca.cert_pem.bytes(),
            private_key=client.private_key_pem.bytes() if client else None,
            certificate_chain=client.cert_chain_pems[0].bytes() if client else None,
        )
        return grpc.aio.secure_channel(f"localhost:{port}", credentials)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority with the server's files."""
    return Authority(tmp_path)


@asynccontextmanager
async def serving(settings: Settings, notes: Notes) -> AsyncIterator[int]:
    """Serve with TLS and yield the port."""
    edge = Edge()
    async with open_identity(settings) as identity:
        application = Application(
            [guarded_handler(MATCHING, notes, edge.replaced(identity), identity)], Health(()), edge.registry
        )
        async with listening(application, "localhost:0", credentials_of(settings)) as (_, port):
            yield port


async def outcome(channel: grpc.aio.Channel, credential: str | None = None) -> str:
    """Call once on the channel and return the reason of the failure, or the status where the server gave none."""
    async with channel:
        failure = await failure_of(channel.unary_unary(GET)(b"", timeout=10, metadata=bearer(credential)))
        return failure.reason if failure.details else failure.code.name


async def test_key_over_tls(authority: Authority) -> None:
    """With TLS alone callers are told apart by key, and plaintext is refused."""
    async with serving(authority.settings(mutual=False), Notes()) as port:
        assert await outcome(authority.channel(port), KEY) == "FIELD_INVALID"
        assert await outcome(authority.channel(port)) == "CREDENTIAL_INVALID"
        assert await outcome(grpc.aio.insecure_channel(f"localhost:{port}"), KEY) == "UNAVAILABLE"


async def test_certificate_names_the_caller(authority: Authority) -> None:
    """A client certificate's name is the caller, by its entry; a key sent beside it counts instead."""
    notes = Notes()
    async with serving(authority.settings(mutual=True), notes) as port:
        client = authority.ca.issue_cert("billing.internal")
        for credential in (None, KEY):
            async with authority.channel(port, client) as channel:
                user = b"\x0a\x2400000000-0000-4000-8000-000000000001"
                call = channel.unary_unary(f"/{MATCHING.full_name}/GetReputation")
                await failure_of(call(user, timeout=10, metadata=bearer(credential)))
    assert notes.callers == ["billing.internal", "booking"]


class Charges:
    """Notes which backends were charged, at which size, and for whom besides."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, int | None, tuple[str, str] | None]] = []

    async def spend(self, policy: str, subject: str, caller: str) -> None:
        """Fail: nobody but backends calls here."""
        raise AssertionError(policy, subject, caller)

    async def spend_as_backend(
        self, backend: str, calls_per_second: int | None, protected: tuple[str, str] | None = None
    ) -> None:
        """Charge one."""
        self.noted.append((backend, calls_per_second, protected))


async def test_a_certificates_calls_are_charged_to_its_name(authority: Authority) -> None:
    """They are charged as a key's calls are: to the name, at the size of its entry, and to no user that they name."""
    charges, edge = Charges(), Edge()
    settings = authority.settings(mutual=True).model_copy(update={"api_keys": "billing.internal:*:certificate:7"})
    async with open_identity(settings) as identity:
        replaced = [
            Throttle(charges, peer_address_behind(())) if isinstance(each, Throttle) else each
            for each in edge.replaced(identity)
        ]
        application = Application([guarded_handler(MATCHING, Notes(), replaced, identity)], Health(()), edge.registry)
        async with (
            listening(application, "localhost:0", credentials_of(settings)) as (_, port),
            authority.channel(port, authority.ca.issue_cert("billing.internal")) as channel,
        ):
            for method in ("GetProfile", "RequestMatch"):
                user = b"\x0a\x2400000000-0000-4000-8000-000000000001"
                await failure_of(channel.unary_unary(f"/{MATCHING.full_name}/{method}")(user, timeout=10))
    protected = ("match_request", "00000000-0000-4000-8000-000000000001")
    assert charges.noted == [("billing.internal", 7, None), ("billing.internal", 7, protected)]


async def test_certificates_of_others_are_refused(authority: Authority) -> None:
    """No certificate, or one of another authority, ends in the handshake."""
    async with serving(authority.settings(mutual=True), Notes()) as port:
        assert await outcome(authority.channel(port), KEY) == "UNAVAILABLE"
        stranger = trustme.CA().issue_cert("billing.internal")
        assert await outcome(authority.channel(port, stranger), KEY) == "UNAVAILABLE"


async def test_rotated_certificate_is_shown_without_restart(authority: Authority) -> None:
    """New files are shown at the next handshake, and calls on open connections go on."""
    async with serving(authority.settings(mutual=False), Notes()) as port, authority.channel(port) as channel:
        call = channel.unary_unary(GET)
        assert (await failure_of(call(b"", timeout=10, metadata=bearer(KEY)))).reason == "FIELD_INVALID"
        authority.issue()
        assert await outcome(authority.channel(port), KEY) == "FIELD_INVALID"
        assert (await failure_of(call(b"", timeout=10, metadata=bearer(KEY)))).reason == "FIELD_INVALID"


async def test_rotation_under_load_fails_nobody(authority: Authority) -> None:
    """While callers connect and call without a pause, the files are written anew ten times, and no call fails."""
    async with serving(authority.settings(mutual=False), Notes()) as port:
        outcomes: list[str] = []
        done = asyncio.Event()

        async def connect_and_call() -> None:
            while not done.is_set():
                outcomes.append(await outcome(authority.channel(port), KEY))

        async with asyncio.TaskGroup() as callers:
            for _ in range(4):
                callers.create_task(connect_and_call())
            for _ in range(10):
                authority.issue()
                had = len(outcomes)
                while len(outcomes) < had + 8:
                    await asyncio.sleep(0.01)
            done.set()
    assert set(outcomes) == {"FIELD_INVALID"}


async def test_half_a_rotation_changes_nothing(authority: Authority) -> None:
    """A certificate without its key is not taken; the last good pair stays in force."""
    async with serving(authority.settings(mutual=False), Notes()) as port:
        assert await outcome(authority.channel(port), KEY) == "FIELD_INVALID"
        authority.ca.issue_cert("localhost").cert_chain_pems[0].write_to_path(authority.folder / "cert.pem")
        assert await outcome(authority.channel(port), KEY) == "FIELD_INVALID"
        (authority.folder / "key.pem").write_text("nonsense")
        assert await outcome(authority.channel(port), KEY) == "FIELD_INVALID"
