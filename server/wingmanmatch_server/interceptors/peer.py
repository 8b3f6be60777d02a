"""Where a call comes from, seen through the proxies that are trusted to say so."""

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import grpc

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PeerAddress = Callable[["grpc.aio.ServicerContext[Any, Any]"], str]

UNKNOWN = "unknown"
FORWARDED = "x-forwarded-for"


def peer_address_behind(proxies: Sequence[Network]) -> PeerAddress:
    """Return what tells a call's address, without its port.

    `x-forwarded-for` is believed from right to left for as long as the one who wrote it is one of `proxies`: whatever a
    client put there itself stands to the left of that.
    """

    def peer_address(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
        address = _connected_address(context.peer())
        if not proxies or not _is_among(address, proxies):
            return address
        for hop in reversed(_forwarded(context)):
            address = hop
            if not _is_among(hop, proxies):
                break
        return address

    return peer_address


def _connected_address(peer: str) -> str:
    """Return the address of a peer as gRPC writes it: `ipv4:127.0.0.1:5`, `ipv6:%5B::1%5D:5`, `unix:`."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind or UNKNOWN
    return unquote(rest).rpartition(":")[0].strip("[]")


def _forwarded(context: "grpc.aio.ServicerContext[Any, Any]") -> list[str]:
    values = [value for key, value in context.invocation_metadata() or () if key == FORWARDED]
    hops = [hop.strip() for value in values for hop in str(value).split(",")]
    return [hop for hop in hops if _address(hop) is not None]


def _is_among(address: str, networks: Sequence[Network]) -> bool:
    parsed = _address(address)
    return parsed is not None and any(parsed in network for network in networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
