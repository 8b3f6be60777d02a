"""Where a call comes from."""

import ipaddress
from typing import Any

import pytest

from wingmanmatch_server.interceptors.peer import peer_address_behind

PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1")]


class Context:
    """As much of a call's context as is asked for."""

    def __init__(self, peer: str, *forwarded: str) -> None:
        self._peer = peer
        self._metadata = [("x-forwarded-for", value) for value in forwarded]

    def peer(self) -> str:
        """Return the peer as gRPC writes it."""
        return self._peer

    def invocation_metadata(self) -> Any:
        """Return the metadata."""
        return self._metadata


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("ipv4:192.0.2.1:5000", [], "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:5000", [], "2001:db8::/64"),
        ("ipv6:%5B2001:db8::2:3%5D:5000", [], "2001:db8::/64"),
        ("ipv6:%5B::ffff:203.0.113.7%5D:5000", [], "203.0.113.7"),
        ("ipv6:%5B64:ff9b::203.0.113.7%5D:5000", [], "203.0.113.7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", [], "fe80::/64"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5000", ["203.0.113.9"], "203.0.113.9"),
        ("unix:", [], "unix"),
        ("", [], "unknown"),
        ("ipv4:192.0.2.1:5000", ["203.0.113.9"], "192.0.2.1"),
        ("ipv4:10.0.0.1:5000", ["203.0.113.9"], "203.0.113.9"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        ("ipv4:10.0.0.1:5000", ["nonsense"], "10.0.0.1"),
        ("ipv4:10.0.0.1:5000", [], "10.0.0.1"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, 203.0.113.8:40001"], "203.0.113.8"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, [2001:db8::1]:443"], "2001:db8::/64"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, [2001:DB8:0:0:0:0:0:1]"], "2001:db8::/64"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, 2001:db8::1"], "2001:db8::/64"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, ::ffff:203.0.113.7"], "203.0.113.7"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, unknown"], "10.0.0.1"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, "], "10.0.0.1"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, 203.0.113.8:port"], "10.0.0.1"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, 203.0.113.8:"], "10.0.0.1"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, [203.0.113.8"], "10.0.0.1"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, _hidden, 10.0.0.2:80"], "10.0.0.2"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6", ""], "10.0.0.1"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, 203.0.113.9", "10.0.0.2", "10.0.0.3"], "203.0.113.9"),
        ("ipv4:10.0.0.1:5000", [", ".join(["6.6.6.6"] + ["10.0.0.2"] * 1000)], "10.0.0.2"),
        ("ipv4:10.0.0.1:5000", ["6.6.6.6, " + "1" * 10_000], "10.0.0.1"),
        ("ipv6:%5B::1%5D:5000", ["203.0.113.9"], "203.0.113.9"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: list[str], address: str) -> None:
    """What a client wrote into the header itself is never taken for its address."""
    assert peer_address_behind(PROXIES)(Context(peer, *forwarded)) == address  # type: ignore[arg-type]


def test_without_proxies_the_header_is_ignored() -> None:
    """Where no proxy is trusted the connection alone counts."""
    context: Any = Context("ipv4:10.0.0.1:5000", "203.0.113.9")
    assert peer_address_behind(())(context) == "10.0.0.1"
