"""The structure of a database as pg_dump describes it, object by object."""

import asyncio
import re
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from wingmanmatch_server.drivers.embedded import postgres_programs
from wingmanmatch_server.drivers.migration_files import Migration
from wingmanmatch_server.drivers.migrations import BASELINE_OF_SUPABASE, migrate

_HEADER = re.compile(r"^-- Name: (?P<name>.*); Type: (?P<kind>.*); Schema: (?P<schema>.*); Owner: .*$", re.MULTILINE)
# Not of the structure: settings of the dump's own session, and who owns what.
_NOISE = re.compile(
    r"^(--.*|SET .*;|\\(un)?restrict .*|ALTER .* OWNER TO .*;|SELECT pg_catalog\.set_config.*;)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Thing:
    """An object: `kind` as pg_dump names it, `name` with a function's arguments or the table that it belongs to."""

    kind: str
    schema: str
    name: str

    @property
    def qualified(self) -> str:
        """The name with its schema."""
        return self.name if self.schema == "-" else f"{self.schema}.{self.name}"

    @property
    def text(self) -> str:
        """What a person calls it."""
        return f"{self.kind.lower()} {self.qualified}"


Structure = Mapping[Thing, str]


def dump(dsn: str) -> Structure:
    """Return the definition of each object of the schemas public and internal in the database of `dsn`."""
    command = (
        postgres_programs() / "pg_dump",
        "--schema-only",
        "--no-publications",
        "--schema=public",
        "--schema=internal",
        dsn,
    )
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own
    headers = list(_HEADER.finditer(text))
    ends = [*(header.start() for header in headers[1:]), len(text)]
    return {
        Thing(header["kind"], header["schema"], header["name"]): _definition(header["kind"], text[header.end() : end])
        for header, end in zip(headers, ends, strict=True)
    }


def _definition(kind: str, section: str) -> str:
    """Return the statements of a section. Privileges have no order of their own: what is revoked stands first."""
    if kind in ("FUNCTION", "PROCEDURE"):
        return _without_noise_around(section)
    text = _NOISE.sub("", section).strip()
    if kind not in ("ACL", "DEFAULT ACL"):
        return text
    return "\n".join(sorted(filter(None, text.splitlines()), key=lambda line: ("REVOKE " not in line, line)))


def _without_noise_around(section: str) -> str:
    """Return a routine with its whole body, whose lines may look like the dump's own."""
    lines = section.split("\n")
    own = [number for number, line in enumerate(lines) if line and not _NOISE.fullmatch(line)]
    return "\n".join(lines[own[0] : own[-1] + 1])


@contextmanager
def scratch_database(admin_dsn: str) -> Iterator[str]:
    """Yield the DSN of an empty database, dropped afterwards."""
    name = f"scratch_{uuid.uuid4().hex}"
    asyncio.run(_execute(admin_dsn, f"create database {name} template template0"))
    try:
        yield urlunsplit(urlsplit(admin_dsn)._replace(path=f"/{name}"))
    finally:
        asyncio.run(_execute(admin_dsn, f"drop database {name} with (force)"))


def structure_of_migrations(admin_dsn: str, migrations: list[Migration]) -> Structure:
    """Return what the migrations make of an empty database."""
    with scratch_database(admin_dsn) as dsn:
        asyncio.run(migrate(dsn, migrations, baseline=True))
        return dump(dsn)


def structure_of_script(admin_dsn: str, script: str) -> Structure:
    """Return what a script makes of an empty database that has what Supabase provides."""
    with scratch_database(admin_dsn) as dsn:
        asyncio.run(_execute(dsn, BASELINE_OF_SUPABASE.read_text("utf-8"), script))
        return dump(dsn)


async def _execute(dsn: str, *scripts: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for script in scripts:
            await connection.execute(script)
    finally:
        await connection.close()
