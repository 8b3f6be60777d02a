"""Addresses of PostgreSQL, `postgresql://…`, and how a connection is made to one of several hosts.

asyncpg itself reads addresses with several hosts, but tries them in their order, within one timeout for all of them:
a first host that is switched off would cost every connection its whole time.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

import asyncpg

CONNECT_TIMEOUT = 3.0  # seconds, for one connection
# What the host that served last gets before the others are tried beside it.
HEAD_START = 0.5
TRANSACTION_POOLER_PORT = "6543"
OURS = ("pooler",)
WRITABLE = "read-write"
Host = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Address:
    """Where PostgreSQL is: `dsn` for asyncpg, without what is ours; `hosts` are empty if the environment names one."""

    dsn: str
    hosts: Sequence[Host]
    target: str | None
    pooled: bool


def parse_address(dsn: str) -> Address:
    """Return what a DSN says; host and port may stand in its authority or among its parameters, as libpq has it.

    Behind a transaction pooler it is at port 6543, as Supabase's, and with `pooler=transaction` among its parameters.
    Of several hosts the one that accepts changes is wanted, unless `target_session_attrs` says otherwise.
    """
    parts = urlsplit(dsn)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    hosts = _hosts(parts.netloc.rpartition("@")[2], parameters)
    pooled = parameters.get("pooler") == "transaction" or any(port == TRANSACTION_POOLER_PORT for _, port in hosts)
    target = parameters.get("target_session_attrs") or (WRITABLE if len(hosts) > 1 else None)
    return Address(without_pooler(dsn), hosts, target, pooled)


def without_pooler(dsn: str) -> str:
    """Return the DSN without the parameter that is ours, which asyncpg would hand on to the server."""
    parts = urlsplit(dsn)
    parameters = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in parameters if name not in OURS]
    return dsn if kept == parameters else _joined(parts._replace(query=urlencode(kept)))


def behind_transaction_pooler(dsn: str) -> bool:
    """Return whether a DSN leads to a transaction pooler. A session pooler is like the database itself."""
    return parse_address(dsn).pooled


class Connector:
    """Makes connections to whichever host of an address fits, the one that did last first."""

    def __init__(self, address: Address, password_file: Path | None = None, **options: Any) -> None:
        """`options` go to asyncpg. `password_file` is read for each connection, so that a password may change."""
        self._address = address
        self._options = options
        if password_file is not None:
            self._options["password"] = password_reader(password_file)
        if address.target:
            self._options["target_session_attrs"] = address.target
        self._hosts = list(address.hosts)

    async def connect(self, *_args: Any, **more: Any) -> asyncpg.Connection:
        """Return a connection. Raises what asyncpg raises for the host that was tried first, TimeoutError included."""
        if len(self._hosts) < 2:  # noqa: PLR2004 - asyncpg does the rest by itself
            return await asyncpg.connect(self._address.dsn, **self._options, **more)
        first, *others = self._hosts
        attempts = [asyncio.create_task(self._connect_to(first, more))]
        await asyncio.wait(attempts, timeout=HEAD_START)
        if not _succeeded(attempts[0]):
            attempts += [asyncio.create_task(self._connect_to(host, more)) for host in others]
        return await self._first_of(attempts)

    async def _first_of(self, attempts: list["asyncio.Task[asyncpg.Connection]"]) -> asyncpg.Connection:
        pending = set(attempts)
        chosen: asyncio.Task[asyncpg.Connection] | None = None
        try:
            while pending and chosen is None:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                chosen = next((attempt for attempt in done if _succeeded(attempt)), None)
        finally:
            await _abandon([attempt for attempt in attempts if attempt is not chosen])
        if chosen is None:
            return attempts[0].result()
        served = attempts.index(chosen)
        self._hosts.insert(0, self._hosts.pop(served))
        return chosen.result()

    async def _connect_to(self, host: Host, more: dict[str, Any]) -> asyncpg.Connection:
        name, port = host
        at = {"host": name} | ({"port": int(port)} if port else {})
        return await asyncpg.connect(self._address.dsn, **self._options, **at, **more)


def password_reader(path: Path) -> Callable[[], str]:
    """Return what reads a password from a file, whose last line break does not count. It raises OSError."""

    def read() -> str:
        return path.read_text("utf-8").rstrip("\r\n")

    return read


def with_password(dsn: str, path: Path | None) -> str:
    """Return the DSN with the password of a file instead of its own, for what connects only once. Raises OSError."""
    if path is None:
        return dsn
    parts, password = urlsplit(dsn), quote(password_reader(path)(), safe="")
    account, at, hosts = parts.netloc.rpartition("@")
    if at:
        return _joined(parts._replace(netloc=f"{account.partition(':')[0]}:{password}@{hosts}"))
    return _joined(parts._replace(query="&".join(filter(None, (parts.query, f"password={password}")))))


def _joined(parts: SplitResult) -> str:
    # urlunsplit leaves the two slashes out where no host follows them.
    return f"{parts.scheme}://{parts.netloc}{parts.path}{'?' if parts.query else ''}{parts.query}"


def _succeeded(attempt: "asyncio.Task[asyncpg.Connection]") -> bool:
    return attempt.done() and not attempt.cancelled() and attempt.exception() is None


async def _abandon(attempts: Sequence["asyncio.Task[asyncpg.Connection]"]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, asyncpg.Connection):
            with suppress(Exception):
                outcome.terminate()


def _hosts(authority: str, parameters: dict[str, str]) -> list[Host]:
    if authority:
        return [_host(part, None) for part in authority.split(",")]
    names, ports = parameters.get("host", "").split(","), parameters.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(names)
    return [_host(name, port or None) for name, port in zip(names, ports, strict=False) if name]


def _host(part: str, port: str | None) -> Host:
    part = unquote(part)
    if part.startswith("/"):
        return part, port
    if part.startswith("["):
        name, _, rest = part[1:].partition("]")
        return name, rest.removeprefix(":") or port
    name, _, given = part.partition(":")
    return name, given or port
