"""How many open files a process has, and how connections share them."""

import resource
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

OWN_FILES = 512  # files and sockets besides those of clients
SMALLEST_SHARE = 8  # connections that each listener has, however few files there are


@dataclass(frozen=True, slots=True)
class ConnectionShares:
    """How many connections each listener of a process may have."""

    grpc: int
    http: int
    admin: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.grpc + self.http + self.admin


def reserve_files(wanted: ConnectionShares, own: int = OWN_FILES) -> ConnectionShares:
    """Raise the limit of open files, often 1024, so that so many connections fit, and return how many do.

    `own` is how many files the process needs itself. Where the system does not let us have enough, all shares shrink,
    and a warning says so: no listener can take files that another one, or the process itself, relies on.
    """
    files = _raise_limit(wanted.total + own)
    if files >= wanted.total + own:
        return wanted
    fitting = shared(wanted, files, own)
    log.warning(
        "connections_limited_by_open_files",
        open_files=files,
        grpc_connections=fitting.grpc,
        http_connections=fitting.http,
        admin_connections=fitting.admin,
    )
    return fitting


def shared(wanted: ConnectionShares, files: int, own: int) -> ConnectionShares:
    """Return how many connections fit into `files`, which are too few for all: an eighth of them is for HTTP.

    The process itself gets what it needs, or half of the files if that is less.
    """
    left = files - min(own, files // 2)
    admin = max(SMALLEST_SHARE, min(wanted.admin, left // 16))
    http = max(SMALLEST_SHARE, min(wanted.http, left // 8))
    return ConnectionShares(grpc=min(wanted.grpc, max(SMALLEST_SHARE, left - http - admin)), http=http, admin=admin)


def _raise_limit(wanted: int) -> int:
    """Raise the limit as far as the system allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
