"""API keys of calling back ends. The server knows only their hashes.

A key is 256 random bits behind a prefix, so its SHA-256 needs no salt and no stretching. An entry of `API_KEYS`, or a
line of the file that `API_KEYS_FILE` names, is

    NAME:SCOPE+SCOPE:HASH
    NAME:SCOPE+SCOPE:HASH:CALLS_PER_SECOND

A scope is the name of an area, such as `matching`; `*` is every area; administration needs `admin` beside these. A
scope that there is not is refused. Two entries of one name are a key and its successor. The word `certificate` in place
of the hash gives the scopes to the caller whose client certificate has that name. CALLS_PER_SECOND is how many rate
limited calls the caller may make; the rate limit policy `backend_api` says it where an entry does not.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

PREFIX = "wmk_"
ALL_AREAS = "*"
ADMIN = "admin"
CERTIFICATE = "certificate"
AREAS = ("challenge", "coaching", "matching", "meetup", "notification", "ratelimit", "session", "system")
SCOPES = (ALL_AREAS, ADMIN, *AREAS)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
SCOPE = re.compile(r"\*|[a-z]{1,32}")
HASH = re.compile(r"[0-9a-f]{64}")
MAX_CALLS_PER_SECOND = 100_000


class ApiKeyError(ValueError):
    """An entry cannot be used; the text says which, by its place, and why. It never repeats the entry."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What one entry allows; `digest` is None for an entry about certificates."""

    name: str
    scopes: frozenset[str]
    digest: bytes | None
    calls_per_second: int | None = None

    def line(self) -> str:
        """Return the entry as it is configured."""
        line = f"{self.name}:{'+'.join(sorted(self.scopes))}:{self.digest.hex() if self.digest else CERTIFICATE}"
        return line if self.calls_per_second is None else f"{line}:{self.calls_per_second}"


def create_key(name: str, scopes: Iterable[str], secret: str) -> tuple[str, ApiKey]:
    """Return a new key and its entry; `secret` is URL-safe text of 256 random bits. Raises ApiKeyError."""
    key = PREFIX + secret
    entry = f"{name}:{'+'.join(scopes)}:{_digest(key).hex()}"
    return key, parse_entry(entry, "the new key")


def parse_keys(text: str, source: str) -> tuple[ApiKey, ...]:
    """Return the entries of `text`: one a line or separated by commas, `#` begins a comment. Raises ApiKeyError."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0]
        entries += [parse_entry(entry, f"{source}, line {number}") for entry in content.split(",") if entry.strip()]
    return tuple(entries)


def parse_entry(entry: str, place: str) -> ApiKey:
    """Return one entry. Raises ApiKeyError naming `place`."""
    name, _, rest = entry.strip().partition(":")
    scopes, _, rest = rest.partition(":")
    proof, has_rate, rate = rest.partition(":")
    if not NAME.fullmatch(name):
        raise ApiKeyError(f"{place}: NAME must be lower-case letters, digits, '.', '_' or '-', at most 63 of them")
    if not all(SCOPE.fullmatch(scope) for scope in scopes.split("+")):
        raise ApiKeyError(f"{place}: scopes must be names of areas, '*' or 'admin', joined by '+'")
    for scope in scopes.split("+"):
        if scope not in SCOPES:
            raise ApiKeyError(f"{place}: there is no scope '{scope}'; the scopes are {', '.join(SCOPES)}")
    if proof != CERTIFICATE and not HASH.fullmatch(proof):
        raise ApiKeyError(f"{place}: the third part must be the 64 hexadecimal digits of a hash, or 'certificate'")
    if has_rate and not (rate.isascii() and rate.isdecimal() and 0 < int(rate[:7]) <= MAX_CALLS_PER_SECOND):
        raise ApiKeyError(f"{place}: CALLS_PER_SECOND must be a whole number from 1 to {MAX_CALLS_PER_SECOND}")
    digest = None if proof == CERTIFICATE else bytes.fromhex(proof)
    return ApiKey(name, frozenset(scopes.split("+")), digest, int(rate) if has_rate else None)


class ApiKeys:
    """The keys in force: those configured outright, and those of a file that may change while the server runs."""

    def __init__(self, configured: str, path: Path | None) -> None:
        """Raises ApiKeyError, and OSError if the file can't be read."""
        self._configured = parse_keys(configured, "API_KEYS")
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._entries = self._configured
        if path is not None:
            self._entries += self._read(path)

    def find(self, key: str) -> ApiKey | None:
        """Return the entry of a key; which of the entries it is, or nearly is, does not show in the time taken."""
        digest, found = _digest(key), None
        for entry in self._entries:
            if entry.digest is not None and hmac.compare_digest(entry.digest, digest):
                found = entry
        return found

    def entry_of_certificate(self, name: str) -> ApiKey | None:
        """Return what the certificates of a name are allowed, None if no entry says."""
        for entry in self._entries:
            if entry.digest is None and entry.name == name:
                return entry
        return None

    def holds(self, entry: ApiKey) -> bool:
        """Tell whether an entry that was found before is still in force, with the same scopes."""
        return entry in self._entries

    def reload(self) -> bool:
        """Read the file again if it has changed, and return whether it has; one that is wrong changes nothing."""
        if self._path is None:
            return False
        try:
            if self._stamp == _stamp(self._path):
                return False
            self._entries = self._configured + self._read(self._path)
        except (ApiKeyError, OSError) as error:
            log.warning("api_keys_not_reloaded", error=str(error) if isinstance(error, ApiKeyError) else "unreadable")
            return False
        log.info("api_keys_reloaded", keys=len(self._entries))
        return True

    def _read(self, path: Path) -> tuple[ApiKey, ...]:
        # The stamp is of before the reading: what changes meanwhile is read again the next time.
        self._stamp = _stamp(path)
        return parse_keys(path.read_text("utf-8"), path.name)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
