"""Certificates that the authority signed, for whatever purpose, and that nobody has entered here."""

from pathlib import Path

import grpc
import pytest
import trustme
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from support.credentials import SETTINGS
from support.edge import Edge, failure_of
from support.protos import methods, policy
from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server.bootstrap import SERVICES, Application
from wingmanmatch_server.bootstrap.identity import open_identity
from wingmanmatch_server.interceptors.door import guarded_handler
from wingmanmatch_server.serving import credentials_of, listening
from wingmanmatch_server.settings import Settings
from wingmanmatch_server.system.health import Health

ENTRIES = f"{SETTINGS['api_keys']},reports.internal:matching:certificate"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority of an operator's certificates."""
    return trustme.CA()


def mutual_tls(folder: Path, authority: trustme.CA) -> Settings:
    """Return settings under which every client shows a certificate of the authority."""
    files = {name: folder / f"{name}.pem" for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file")}
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(files["tls_cert_file"])
    certificate.private_key_pem.write_to_path(files["tls_key_file"])
    authority.cert_pem.write_to_path(files["tls_client_ca_file"])
    return Settings(_env_file=None, **SETTINGS | {"api_keys": ENTRIES}, **files)


def channel_as(name: str, authority: trustme.CA, port: int) -> grpc.aio.Channel:
    """Return a channel that shows a certificate of a name."""
    certificate = authority.issue_cert(name)
    credentials = grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(), certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    )
    return grpc.aio.secure_channel(f"localhost:{port}", credentials)


async def outcome(channel: grpc.aio.Channel, method: MethodDescriptor) -> str:
    """Call a method with an empty request and return the reason of its failure."""
    arity = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(channel, arity)(f"/{method.containing_service.full_name}/{method.name}")
    request = GetMessageClass(method.input_type)().SerializeToString()
    begun = call(iter([request]) if method.client_streaming else request, timeout=10)
    return (await failure_of(begun.read() if method.server_streaming else begun)).reason


async def test_certificate_without_an_entry(tmp_path: Path, authority: trustme.CA) -> None:
    """It opens no method but the public ones; one with an entry opens the areas of its entry alone."""
    edge = Edge()
    settings = mutual_tls(tmp_path, authority)
    async with open_identity(settings) as identity:
        interceptors = edge.replaced(identity)
        handlers = [guarded_handler(service, None, interceptors, identity) for service in SERVICES]
        application = Application(handlers, Health(()), edge.registry)
        async with (
            listening(application, "localhost:0", credentials_of(settings)) as (_, port),
            channel_as("printer.internal", authority, port) as stranger,
            channel_as("reports.internal", authority, port) as reports,
        ):
            for method in methods():
                is_public = policy(method).access == options_pb2.ACCESS_PUBLIC
                assert (await outcome(stranger, method) == "ACCESS_DENIED") is not is_public, method.full_name
                own = is_public or method.full_name.startswith("wingmanmatch.matching.")
                assert (await outcome(reports, method) == "ACCESS_DENIED") is not own, method.full_name
