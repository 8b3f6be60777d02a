"""Where a call comes from, seen through the proxies that are trusted to say so."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import unquote

import grpc

from wingmanmatch_server.ip_addresses import Address, plain, subject_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PeerAddress = Callable[["grpc.aio.ServicerContext[Any, Any]"], str]

UNKNOWN = "unknown"
FORWARDED = "x-forwarded-for"
MAX_HOPS = 16  # trusted proxies in a row; nobody has more
LONGEST_HOP = 64  # characters
# ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; an address of IPv6 with a port has brackets.
HOP = re.compile(r"\[(?P<bracketed>[^\[\]]+)\](?::\d{1,5})?|(?P<with_port>[0-9.]+):\d{1,5}|(?P<bare>[0-9A-Fa-f.:%\w]+)")


def peer_address_behind(proxies: Sequence[Network]) -> PeerAddress:
    """Return what tells a call's address as the subject of rate limits, without its port (see `addresses`).

    `x-forwarded-for` is believed from right to left for as long as the one who wrote it is one of `proxies`: whatever a
    client put there itself stands to the left of that. An entry that cannot be read is not skipped, because the next
    one may be the client's own: the proxy that wrote it counts then.
    """

    def peer_address(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
        kind, address = _connected_address(context.peer())
        if address is None:
            return kind
        if proxies and _is_among(address, proxies):
            address = _behind(address, context, proxies)
        return subject_of(address)

    return peer_address


def _behind(proxy: Address, context: "grpc.aio.ServicerContext[Any, Any]", proxies: Sequence[Network]) -> Address:
    """Return the nearest address that is not one of the proxies', or the last proxy's that names none."""
    address = proxy
    for hop in _forwarded(context):
        parsed = _hop(hop)
        if parsed is None:
            break
        address = parsed
        if not _is_among(address, proxies):
            break
    return address


def _connected_address(peer: str) -> tuple[str, Address | None]:
    """Return the kind and the address of a peer as gRPC writes it: `ipv4:127.0.0.1:5`, `ipv6:%5B::1%5D:5`, `unix:`."""
    kind, _, rest = peer.partition(":")
    return kind or UNKNOWN, _hop(unquote(rest)) if kind in ("ipv4", "ipv6") else None


def _forwarded(context: "grpc.aio.ServicerContext[Any, Any]") -> Iterator[str]:
    """Yield the entries of all headers from the right, of which `MAX_HOPS` at most."""
    headers = reversed(tuple(context.invocation_metadata() or ()))
    values = (str(value) for key, value in headers if key == FORWARDED)
    return islice((hop for value in values for hop in reversed(value.split(","))), MAX_HOPS)


def _hop(text: str) -> Address | None:
    text = text.strip()
    found = HOP.fullmatch(text) if len(text) <= LONGEST_HOP else None
    if found is None:
        return None
    try:
        return plain(ipaddress.ip_address(found["bracketed"] or found["with_port"] or found["bare"]))
    except ValueError:
        return None


def _is_among(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
