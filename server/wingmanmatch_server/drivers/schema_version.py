"""Whether this version of the server works on a database's schema.

A server knows the migrations that it ships. It works on a schema that has all of them, and on a newer one as long as no
migration applied there names an oldest server that is newer than itself. So versions can be rolled out and back while
others run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wingmanmatch_server.drivers.database import CallFailed, Database

FUNCTION = "get_migrations"
# PostgreSQL's and PostgREST's codes for a function that does not exist: nothing of ours was applied yet.
_NO_SUCH_FUNCTION = ("42883", "3F000", "PGRST202")
BASELINE = "20261128120000"


class SchemaRefused(Exception):
    """This version does not work on the schema. The text is a sentence for whoever runs it."""


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A migration in a database's history.

    `oldest_server` is None where the history does not say, `statements` where they are not recorded or not readable.
    """

    version: str
    oldest_server: str | None
    statements: Sequence[str] | None = None


async def require_usable_schema(database: Database, known: Sequence[str]) -> None:
    """Check the schema over any transport, for a server that knows the versions `known`.

    Raises SchemaRefused, and errors.Unavailable if the database does not answer.
    """
    applied = await _read(database)
    if problem := exclusion(applied, known):
        raise SchemaRefused(problem)
    if missing := missing_from(applied, known):
        raise SchemaRefused(
            f"The database lacks migration {missing[0]}, which this version needs: run `wingmanmatch migrate` with the "
            "DATABASE_URL of the schema's owner, then start the server."
        )


def missing_from(applied: Sequence[AppliedMigration], known: Sequence[str]) -> list[str]:
    """Return those of `known` that were not applied, oldest first."""
    present = {each.version for each in applied}
    return [version for version in known if version not in present]


def exclusion(applied: Sequence[AppliedMigration], known: Sequence[str]) -> str | None:
    """Return a sentence on why a server that knows the versions `known` must not touch the schema, or None."""
    newest = max(known, default="")
    unknown = [each for each in applied if each.version not in known]
    if any(each.version < BASELINE for each in unknown):
        return _before_the_baseline(unknown[0].version)
    for each in unknown:
        if each.oldest_server is None:
            return (
                f"The database has migration {each.version}, which does not say which servers work after it: keep the "
                "database for this server alone, or start the version that ships this migration."
            )
        if each.oldest_server > newest:
            return (
                f"The database is too new for this version: migration {each.version} needs a server that knows "
                f"{each.oldest_server}, and the newest known here is {newest or 'none'}. Start a newer version, or "
                "restore a backup from before that migration."
            )
    if unknown and (missing := missing_from(applied, known)):
        return (
            f"The database has migration {unknown[0].version}, unknown to this version, but lacks {missing[0]}: the "
            "two were made on different branches. Run the version that has both."
        )
    return None


def parse_applied(answer: Sequence[dict[str, Any]]) -> list[AppliedMigration]:
    """Return what `get_migrations` answered."""
    return [AppliedMigration(each["version"], each["oldest_server"]) for each in answer]


async def _read(database: Database) -> list[AppliedMigration]:
    try:
        return parse_applied(await database.call(FUNCTION))
    except CallFailed as failed:
        if failed.code in _NO_SUCH_FUNCTION:
            return []
        raise


def _before_the_baseline(version: str) -> str:
    return (
        f"The database has migration {version}, from before the first release: it cannot be brought to this schema. "
        "Start afresh with an empty database; for the embedded one, move the folder postgres below DATA_DIR away."
    )
