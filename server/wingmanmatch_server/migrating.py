"""`wingmanmatch migrate`: what a person reads of it."""

from collections.abc import Callable, Sequence

from wingmanmatch_server.drivers.migration_files import Migration, read_migrations
from wingmanmatch_server.drivers.migration_history import Status, read_status
from wingmanmatch_server.drivers.migrations import LOCK_PATIENCE, migrate, rehearse


async def tell_status(dsn: str) -> tuple[str, bool]:
    """Return a line for each migration, and whether the database is exactly at this version's schema."""
    status = await read_status(dsn, read_migrations())
    current = not (status.missing or status.problem)
    return "\n".join([*_lines(status), _summary(status)]), current


async def tell_rehearsal(dsn: str, *, baseline: bool) -> str:
    """Try the missing migrations without keeping anything, and return what a run would apply."""
    missing = await rehearse(dsn, read_migrations(), baseline=baseline)
    return _told("would apply", missing, "tried and undone")


async def tell_migration(dsn: str, *, baseline: bool, warn: Callable[[str], None]) -> str:
    """Apply the missing migrations and return what was applied; `warn` gets a sentence when one has to wait."""

    def on_wait(migration: Migration) -> None:
        warn(f"{migration.file} waits for a lock that another session holds; it tries for up to {LOCK_PATIENCE:.0f} s.")

    applied = await migrate(dsn, read_migrations(), baseline=baseline, on_wait=on_wait)
    return _told("applied", applied, "applied") if applied else _summary(await read_status(dsn, read_migrations()))


def _told(done: str, migrations: Sequence[Migration], counted_as: str) -> str:
    if not migrations:
        return "The database is current."
    lines = [f"{done}  {migration.file}" for migration in migrations]
    return "\n".join([*lines, f"{len(migrations)} {counted_as}."])


def _lines(status: Status) -> list[str]:
    changed = set(status.changed)
    states = {migration.file: "changed" if migration in changed else "applied" for migration in status.applied}
    states |= {migration.file: "missing" for migration in status.missing}
    states |= dict.fromkeys(status.unknown, "unknown")
    return [f"{state}  {name}" for name, state in sorted(states.items())]


def _summary(status: Status) -> str:
    if status.problem:
        return status.problem
    if status.missing:
        return f"{len(status.missing)} missing: run `wingmanmatch migrate`."
    if status.unknown:
        return "The database is newer than this version, which works on it."
    return "The database is current."
