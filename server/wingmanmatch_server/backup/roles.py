"""The roles as a new cluster takes them."""

import re

from wingmanmatch_server.drivers.embedded_postgres import SUPERUSER

# What every cluster of ours has from the beginning, and what pg_dumpall would do to it.
_OF_THE_SUPERUSER = re.compile(rf"(?:CREATE ROLE {SUPERUSER}|ALTER ROLE {SUPERUSER} WITH .*);")
_GRANTOR = re.compile(r'^(GRANT .*?) GRANTED BY (?:"(?:[^"]|"")+"|[^\s"]+);$')


def for_new_cluster(roles: str) -> str:
    """Return the SQL of pg_dumpall without what concerns the superuser, whom a new cluster already has.

    Memberships are granted by that superuser there: the one of the old cluster, who may have had another name, has no
    right to grant in the new one.
    """
    lines = (line for line in roles.split("\n") if not _OF_THE_SUPERUSER.fullmatch(line))
    return "\n".join(_GRANTOR.sub(r"\1;", line) for line in lines)
