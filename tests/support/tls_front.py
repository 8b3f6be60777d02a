"""TLS in front of a server that speaks none."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trustme


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def tls_front(
    socket: str, authority: trustme.CA, client_authority: trustme.CA | None = None
) -> AsyncIterator[int]:
    """Yield the port at which `localhost` is served over TLS what listens on a Unix socket."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    if client_authority:
        client_authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_unix_connection(socket)
        await asyncio.gather(_pass_on(reader, upstream), _pass_on(upstream_reader, writer))

    server = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def write_certificates(authority: trustme.CA, folder: Path) -> dict[str, Path]:
    """Write what a client needs, and return it by the names of redis-py's options."""
    paths = {name: folder / f"{name}.pem" for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
    certificate = authority.issue_cert("client.example.org")
    authority.cert_pem.write_to_path(str(paths["ssl_ca_certs"]))
    certificate.cert_chain_pems[0].write_to_path(str(paths["ssl_certfile"]))
    certificate.private_key_pem.write_to_path(str(paths["ssl_keyfile"]))
    return paths
