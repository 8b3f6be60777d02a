"""Which databases are backed up."""

import pytest

from wingmanmatch_server.backup.archive import BackupError
from wingmanmatch_server.backup.backing_up import check
from wingmanmatch_server.backup.database import Found


@pytest.mark.parametrize("version", [150018, 180006, 189999])
def test_older_and_equal_versions(version: int) -> None:
    """pg_dump reads its own major version and older ones."""
    check(Found(version, is_ours=True, is_supabase=False), 18)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (Found(190000, is_ours=True, is_supabase=False), r"is PostgreSQL 19, .* above PostgreSQL 18: use .* pg_dump"),
        (Found(180006, is_ours=True, is_supabase=True), "is a Supabase project"),
        (Found(180006, is_ours=False, is_supabase=False), "has no history of migrations"),
    ],
)
def test_refusals(found: Found, sentence: str) -> None:
    """A newer version, a Supabase project and a database of something else are refused, each by its sentence."""
    with pytest.raises(BackupError, match=sentence):
        check(found, 18)
