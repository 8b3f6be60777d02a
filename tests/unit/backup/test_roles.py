"""The roles as a new cluster takes them."""

import pytest

from wingmanmatch_server.backup.roles import for_new_cluster


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("CREATE ROLE postgres;", ""),
        ("ALTER ROLE postgres WITH NOSUPERUSER INHERIT LOGIN;", ""),
        ("ALTER ROLE postgres SET statement_timeout TO '5s';", "ALTER ROLE postgres SET statement_timeout TO '5s';"),
        ("CREATE ROLE postgres_reader;", "CREATE ROLE postgres_reader;"),
        ("ALTER ROLE anon WITH NOLOGIN;", "ALTER ROLE anon WITH NOLOGIN;"),
        ("GRANT a TO b WITH INHERIT TRUE GRANTED BY rds_admin;", "GRANT a TO b WITH INHERIT TRUE;"),
        ('GRANT a TO "b c" GRANTED BY "The ""Boss""";', 'GRANT a TO "b c";'),
        ("GRANT a TO b;", "GRANT a TO b;"),
        ('GRANT a TO "x GRANTED BY y";', 'GRANT a TO "x GRANTED BY y";'),
    ],
)
def test_superuser_and_grantors_are_left_out(line: str, kept: str) -> None:
    """The superuser is there already, and grants all memberships; everything else is unchanged."""
    assert for_new_cluster(f"--\n{line}\n") == "--\n" + (f"{kept}\n" if kept else "")
