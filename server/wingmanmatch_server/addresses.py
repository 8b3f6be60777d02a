"""Where a server answers, and what is said when it cannot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a server answers, each HOST:PORT; gRPC at one address for each process that serves."""

    grpc: Sequence[str]
    http: str
    admin: str


Announce = Callable[[Addresses], None]


class AddressInUse(Exception):
    """Something else listens on the address that a setting names."""

    def __init__(self, setting: str, address: str) -> None:
        super().__init__(f"{address} is taken by another program; stop it, or set {setting} to another address")


def with_port(address: str, port: int) -> str:
    """Return the address with the port that it got, for one that left the choice to the system by port 0."""
    return f"{address.rpartition(':')[0]}:{port}"
