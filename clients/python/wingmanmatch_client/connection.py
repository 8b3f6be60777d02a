"""How a client reaches its servers: TLS, credentials, and what gRPC itself does about servers that fail."""

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from wingmanmatch_client.rpc import Rpc
from wingmanmatch_client.rpcs import RPCS

Option = tuple[str, int | str]

# A call that no server took is made again after about 0.2, 0.6 and 1.8 s, never past its deadline. A server that says
# by grpc-retry-pushback-ms when, or never, is obeyed. RESOURCE_EXHAUSTED is not repeated: who used a quota up should
# know, and its wait is mostly longer than a call.
RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# Ten failures in a row end all retries, and ten answers pay for one more: servers in trouble get no more of it.
RETRY_BUDGET = {"maxTokens": 20, "tokenRatio": 0.1}


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the authorities trusted instead of gRPC's own, and the certificate and key to show to a server."""

    ca_file: Path | str | None = None
    cert_file: Path | str | None = None
    key_file: Path | str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what gRPC needs of the files. Raises OSError for one that cannot be read."""
        authorities, certificate, key = (
            Path(file).read_bytes() if file else None for file in (self.ca_file, self.cert_file, self.key_file)
        )
        return grpc.ssl_channel_credentials(authorities, private_key=key, certificate_chain=certificate)


def credentials_for(target: str, *, tls: Tls | bool | None) -> grpc.ChannelCredentials | None:
    """Return the TLS credentials of a connection to `target`; None where it has none."""
    wanted = not is_local(target) if tls is None else tls
    if not wanted:
        return None
    return (wanted if isinstance(wanted, Tls) else Tls()).credentials()


def is_local(target: str) -> bool:
    """Whether all of what `target` names is this machine, whose network nobody else reads."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    addresses = target.removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:").rpartition("/")[2]
    return all(_is_loopback(address.rpartition(":")[0].strip("[]")) for address in addresses.split(","))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def metadata_for(api_key: str | None) -> tuple[tuple[str, str], ...]:
    """Return what is sent with every call."""
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()


def channel_options() -> list[Option]:
    """Return how gRPC is to treat a connection."""
    return [
        ("grpc.service_config", json.dumps(service_config(RPCS))),
        # A server that hangs, or a path that is cut, is noticed within 40 s of an open call; the server allows as much.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        # Two minutes, gRPC's own, would be long after a server has come back.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 10_000),
    ]


def service_config(rpcs: Iterable[Rpc[Any, Any]]) -> dict[str, Any]:
    """Return gRPC's service config: calls go to all servers of the target in turn that say they serve."""
    repeatable = [{"service": rpc.service, "method": rpc.name} for rpc in rpcs if rpc.repeatable]
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": "readiness"},
        "methodConfig": [{"name": repeatable, "retryPolicy": RETRY_POLICY}],
        "retryThrottling": RETRY_BUDGET,
    }
