"""TLS: the server's certificate, read again when it changes, and the names in the certificates of clients."""

import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

log = structlog.get_logger(__name__)

Stamp = tuple[tuple[int, int], ...]


class CertificateError(Exception):
    """The files cannot be used; the text says which setting is at fault."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files: the chain that the server shows, its key, and the authority of client certificates, if any."""

    chain: Path
    key: Path
    client_authority: Path | None = None

    def paths(self) -> Iterable[Path]:
        """Return the files there are."""
        return [path for path in (self.chain, self.key, self.client_authority) if path]


class ServerCertificates:
    """Credentials of a listening port that follow their files without a restart.

    Connections that are open keep the certificate they were opened with. Files that do not belong together, as in the
    middle of a rotation, are not taken: the last good ones stay in force.
    """

    def __init__(self, files: CertificateFiles) -> None:
        """Raises CertificateError."""
        self._files = files
        # gRPC asks on threads of its own.
        self._reading = threading.Lock()
        self._stamp = self._current_stamp()
        self._check()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is bound with. With a client authority every client must show a certificate of it."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            self._fetch,  # type: ignore[arg-type]  # None: nothing has changed
            require_client_authentication=self._files.client_authority is not None,
        )

    def _fetch(self) -> "grpc.ServerCertificateConfiguration | None":
        """Return the new configuration, None if the files have not changed; called at each handshake."""
        with self._reading:
            try:
                stamp = self._current_stamp()
                if stamp == self._stamp:
                    return None
                self._check()
                configuration = self._configuration()
            except CertificateError as error:
                log.warning("certificates_not_reloaded", error=str(error))
                return None
            self._stamp = stamp
            log.info("certificates_reloaded")
            return configuration

    def _configuration(self) -> "grpc.ServerCertificateConfiguration":
        authority = self._files.client_authority
        return grpc.ssl_server_certificate_configuration(
            [(self._files.key.read_bytes(), self._files.chain.read_bytes())],
            root_certificates=authority.read_bytes() if authority else None,
        )

    def _check(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._files.chain, self._files.key)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(f"TLS_CERT_FILE and TLS_KEY_FILE: {_cause(error)}") from None
        try:
            if self._files.client_authority:
                context.load_verify_locations(self._files.client_authority)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(f"TLS_CLIENT_CA_FILE: {_cause(error)}") from None

    def _current_stamp(self) -> Stamp:
        try:
            return tuple((path.stat().st_mtime_ns, path.stat().st_ino) for path in self._files.paths())
        except OSError as error:
            raise CertificateError(f"TLS files: {_cause(error)}") from None


def _cause(error: OSError | ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not usable PEM, or key and certificate do not belong together ({error.reason or 'unknown'})"
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
