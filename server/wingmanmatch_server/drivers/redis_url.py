"""What a Redis URL names.

    redis://HOST:PORT/DB, rediss:// with TLS, unix://PATH        one server
    redis+cluster://HOST:PORT,HOST:PORT, rediss+cluster://       a cluster, by any of its nodes
    redis+sentinel://HOST:PORT,HOST:PORT/SERVICE, rediss+…       the primary that these sentinels know by that name

User and password before the @ are the servers'. The query may name the sentinels' own, as `sentinel_password=…`, and
files for TLS, as `ssl_ca_certs=FILE`. With TLS the sentinels are reached by it too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}


class Kind(Enum):
    """How many servers there are, and who knows them."""

    SERVER = "server"
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


SCHEMES = {
    "redis": Kind.SERVER,
    "rediss": Kind.SERVER,
    "unix": Kind.SERVER,
    "redis+cluster": Kind.CLUSTER,
    "rediss+cluster": Kind.CLUSTER,
    "redis+sentinel": Kind.SENTINEL,
    "rediss+sentinel": Kind.SENTINEL,
}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed URL. One server's own places and options are left to redis-py, which reads the same URL."""

    kind: Kind
    places: Sequence[tuple[str, int]] = ()
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict)


def parse_redis_url(url: str) -> RedisUrl:
    """Return what `url` names. Raises ValueError, which tells the rule and never the URL."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    kind = SCHEMES[parts.scheme]
    if kind is Kind.SERVER:
        _ = parts.scheme == "unix" or parts.port  # the parser judges the port when it is asked for
        return RedisUrl(kind)
    service = parts.path.strip("/")
    if kind is Kind.SENTINEL and not service:
        raise ValueError("must end in the name of the service that the sentinels watch, as …/SERVICE")
    tls = _tls(parts)
    return RedisUrl(kind, _places(parts.netloc), service, tls | _account(parts), tls | _sentinel_account(parts))


def without_account(url: str) -> tuple[str, str | None]:
    """Return the URL without user and password, and the user. Raises ValueError if it has a password."""
    parts = urlsplit(url)
    account, separator, _ = parts.netloc.rpartition("@")
    username, _, password = account.partition(":")
    if password or any(name == "password" for name, _ in parse_qsl(parts.query)):
        raise ValueError("replaces the password of REDIS_URL, which must have none")
    return url.replace(f"://{account}{separator}", "://", 1), unquote(username) or None


def _places(netloc: str) -> list[tuple[str, int]]:
    addresses = [address.rpartition(":") for address in netloc.rpartition("@")[2].split(",")]
    if not all(host and port.isdecimal() for host, _, port in addresses):
        raise ValueError("must name its places as HOST:PORT, separated by commas")
    return [(host.strip("[]"), int(port)) for host, _, port in addresses]


def _account(parts: SplitResult) -> dict[str, Any]:
    account, separator, _ = parts.netloc.rpartition("@")
    username, _, password = account.partition(":")
    given = {"username": username, "password": password} if separator else {}
    return {name: unquote(value) for name, value in given.items() if value}


def _sentinel_account(parts: SplitResult) -> dict[str, Any]:
    return {SENTINEL_OPTIONS[name]: value for name, value in parse_qsl(parts.query) if name in SENTINEL_OPTIONS}


def _tls(parts: SplitResult) -> dict[str, Any]:
    files = {name: value for name, value in parse_qsl(parts.query) if name in TLS_OPTIONS}
    return {"ssl": True, **files} if parts.scheme.startswith("rediss") else {}
