"""The TOML file that overrides policies and adds some. Every mistake is named with its line.

    replicas = 3                          # share the local buckets of an outage among so many processes

    [policies.public_api]                 # a built-in policy: what is left out stays as it is
    capacity = 200

    [policies.search]                     # a new one: capacity and refill_per_second are required
    capacity = 30
    refill_per_second = 0.5
    shadow = true                         # count denials, deny nothing
    outage = "deny"                       # while Redis is away: "local" (the default), "allow" or "deny"

    [[policies.search.overrides]]
    caller = "partner"                    # or: subject = "..."
    capacity = 300
    refill_per_second = 5

    [[policies.search.overrides]]
    subject = "load-test"
    unlimited = true

A policy, a subject or a calling back end that the file does not name is treated as without it.
"""

import asyncio
import dataclasses
import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote

import structlog
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from wingmanmatch_server.ip_addresses import address_subject
from wingmanmatch_server.ratelimit.policies import (
    UNLIMITED,
    Limit,
    Outage,
    Policies,
    Policy,
    backend_policy,
    built_in,
    interval_of,
    make_limit,
)

log = structlog.get_logger(__name__)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", max_length=64)]
Capacity = Annotated[int, Field(ge=0, lt=UNLIMITED, strict=True)]
Place = Sequence[int | str]


class PolicyFileError(ValueError):
    """The file cannot be used; `problems` has a sentence for each mistake, which begins with its line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(f"RATE_LIMITS_FILE cannot be used: {'; '.join(problems)}")
        self.problems = problems


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    capacity: Capacity | None = None
    refill_per_second: float | None = None
    unlimited: bool = False

    @field_validator("refill_per_second")
    @classmethod
    def _countable(cls, value: float | None) -> float | None:
        if value is not None:
            interval_of(value)
        return value

    @model_validator(mode="after")
    def _limited_or_not(self) -> Self:
        if self.unlimited and (self.capacity is not None or self.refill_per_second is not None):
            raise ValueError("unlimited goes without capacity and refill_per_second")
        return self


class _Override(_Table):
    subject: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    caller: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None

    @model_validator(mode="after")
    def _for_one(self) -> Self:
        if (self.subject is None) == (self.caller is None):
            raise ValueError("needs either subject or caller")
        if not self.unlimited and (self.capacity is None or self.refill_per_second is None):
            raise ValueError("needs capacity and refill_per_second, or unlimited = true")
        return self


class _Policy(_Table):
    shadow: bool = False
    outage: Outage = Outage.LOCAL
    addresses: bool | None = None
    overrides: list[_Override] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    replicas: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 1
    policies: dict[Name, _Policy] = {}


def parse_policies(text: str, more: Iterable[Policy] = ()) -> Policies:
    """Return the policies that the file's text makes of the built-in ones and `more`. Raises PolicyFileError.

    Those are internal, the file's own are not.
    """
    try:
        file = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyFileError([_syntax_problem(text, str(error))]) from None
    except ValidationError as error:
        raise PolicyFileError([_problem(text, each["loc"], each["msg"]) for each in error.errors()]) from None
    internal = (*built_in(), backend_policy(), *more)
    known = {policy.name: dataclasses.replace(policy, internal=True) for policy in internal}
    problems = []
    for name, table in file.policies.items():
        try:
            known[name] = _policy(name, table, known.get(name))
        except ValueError as error:
            problems.append(_problem(text, ("policies", name), str(error)))
    if problems:
        raise PolicyFileError(problems)
    return Policies(dict(sorted(known.items())), _version(known.values(), file.replicas), file.replicas)


def _policy(name: str, table: _Policy, known: Policy | None) -> Policy:
    capacity = table.capacity if table.capacity is not None else known and known.limit.capacity
    refill = table.refill_per_second if table.refill_per_second is not None else known and known.refill_per_second
    if not table.unlimited and (capacity is None or refill is None):
        raise ValueError("a new policy needs capacity and refill_per_second, or unlimited = true")

    addresses = table.addresses if table.addresses is not None else known is not None and known.limit.addresses

    def finished(limit: Limit) -> Limit:
        return dataclasses.replace(limit, shadow=table.shadow, outage=table.outage, addresses=addresses)

    def subject_of(override: _Override) -> str:
        return address_subject(override.subject or "") if addresses else override.subject or ""

    own = Limit(name, UNLIMITED, 0) if table.unlimited else make_limit(name, capacity or 0, refill or 0.0)
    by_subject = {subject_of(each): finished(_override(name, each, name)) for each in table.overrides if each.subject}
    by_caller = {
        each.caller: finished(_override(name, each, f"{name}@{quote(each.caller, safe='')}"))
        for each in table.overrides
        if each.caller
    }
    rate = 0.0 if table.unlimited else refill or 0.0
    return Policy(finished(own), rate, by_subject, by_caller, internal=known is not None and known.internal)


def _override(name: str, table: _Override, bucket: str) -> Limit:
    if table.unlimited:
        return Limit(name, UNLIMITED, 0, bucket=bucket)
    return make_limit(name, table.capacity or 0, table.refill_per_second or 0.0, bucket=bucket)


def _version(policies: Iterable[Policy], replicas: int) -> str:
    content = repr((replicas, sorted(policies, key=lambda policy: policy.name)))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _syntax_problem(text: str, message: str) -> str:
    found = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", message, re.DOTALL)
    what, line = (found[1], found[2]) if found else (message, None)
    return f"line {line or text.count(chr(10)) + 1}: {what}"


def _problem(text: str, place: Place, message: str) -> str:
    name = ".".join(str(part) for part in place if part != "[key]")
    return f"line {line_of(text, place)}: {name}: {message.removeprefix('Value error, ')}"


def line_of(text: str, place: Place) -> int:
    """Return the line on which the file says what is at `place`, or the nearest table around it; 1 if none does."""
    wanted, best, depth = tuple(str(part) for part in place), 1, 0
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        here = table
        if header := re.match(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]", line):
            here = table = _names(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                here = table = (*table, str(counts[table]))
        elif key := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            here = (*table, *_names(key[1]))
        if len(here) > depth and here == wanted[: len(here)]:
            best, depth = number, len(here)
    return best


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


class PolicyFile:
    """The policies of a file, read again when it changes; a file that cannot be used changes nothing."""

    def __init__(
        self,
        path: Path | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        more: Sequence[Policy] = (),
    ) -> None:
        """Read the file; without one the built-in policies and `more` are in force. Raises PolicyFileError."""
        self._path = path
        self._more = more
        self._now = now
        self.load_time = now()
        try:
            self._text = path.read_text() if path else ""
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyFileError([f"{path}: {type(error).__name__}"]) from None
        self.policies = parse_policies(self._text, more)
        self.usable = True

    async def reload(self) -> bool:
        """Read the file if its content changed; return whether other policies are in force now."""
        if self._path is None:
            return False
        try:
            text = await asyncio.to_thread(self._path.read_text)
        except (OSError, UnicodeDecodeError) as error:
            self._refuse([type(error).__name__])
            return False
        if text == self._text and self.usable:
            return False
        return self._take(text)

    def _take(self, text: str) -> bool:
        previous = self.policies.version
        try:
            policies = parse_policies(text, self._more)
        except PolicyFileError as error:
            self._refuse(error.problems, new=text != self._text)
            self._text = text
            return False
        self._text, self.usable, self.policies, self.load_time = text, True, policies, self._now()
        log.info("rate_limits_loaded", version=policies.version)
        return policies.version != previous

    def _refuse(self, problems: Sequence[str], *, new: bool = False) -> None:
        if self.usable or new:
            log.error("rate_limits_kept", version=self.policies.version, problems=list(problems))
        self.usable = False
