"""IP addresses as subjects of rate limits: one spelling for each, and one subject for all that a client can choose."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SUBNET = 64  # bits; a client of IPv6 has at least a network of this size, and may use any address in it
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # stands for all of IPv4, in its last 32 bits


def address_subject(text: str) -> str:
    """Return the subject of an address: IPv4 as it is, IPv6 as its network of 64 bits, `2001:db8::/64`.

    An address of IPv4 written as one of IPv6 (`::ffff:203.0.113.7`) is that of IPv4. Text that is no address is
    returned as it is.
    """
    if ":" not in text:
        return text  # an address of IPv4 has one spelling only
    try:
        return subject_of(ipaddress.ip_address(text))
    except ValueError:
        return text


def subject_of(address: Address) -> str:
    """Return the subject of a parsed address, as `address_subject` does."""
    address = plain(address)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((int(address), SUBNET), strict=False))


def plain(address: Address) -> Address:
    """Return the address of IPv4 that one of IPv6 stands for, or else the address without its zone."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    without_zone = ipaddress.IPv6Address(int(address))
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if without_zone in NAT64 else without_zone
