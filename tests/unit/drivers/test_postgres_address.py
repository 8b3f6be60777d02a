"""What an address of PostgreSQL says, and how its password is put in."""

from pathlib import Path

import pytest

from wingmanmatch_server.drivers.postgres_address import parse_address, with_password


@pytest.mark.parametrize(
    ("dsn", "hosts", "target"),
    [
        ("postgresql://u:p@a:5432/db", [("a", "5432")], None),
        ("postgresql://u:p@a:5432,b:5433/db", [("a", "5432"), ("b", "5433")], "read-write"),
        ("postgresql://u:p@a,b/db?target_session_attrs=any", [("a", None), ("b", None)], "any"),
        ("postgresql://u:p@[::1]:5432,[::2]/db", [("::1", "5432"), ("::2", None)], "read-write"),
        ("postgresql://u@/db?host=a,b&port=1,2", [("a", "1"), ("b", "2")], "read-write"),
        ("postgresql://u@/db?host=a,b&port=1", [("a", "1"), ("b", "1")], "read-write"),
        ("postgresql://u@/db?host=%2Frun%2Fpg&port=5432", [("/run/pg", "5432")], None),
        ("postgresql://u@/db", [], None),
        ("postgresql://u:p@a:5432/db?target_session_attrs=read-write", [("a", "5432")], "read-write"),
    ],
)
def test_hosts(dsn: str, hosts: list[tuple[str, str | None]], target: str | None) -> None:
    """Hosts and ports are found where libpq finds them; of several hosts the one that takes changes is wanted."""
    address = parse_address(dsn)
    assert (address.hosts, address.target) == (hosts, target)


@pytest.mark.parametrize("pooled", ["u:p@a:6543/db", "u:p@a:5432/db?pooler=transaction", "u:p@a:6543,b:6543/db"])
def test_poolers(pooled: str) -> None:
    """A transaction pooler is known by its port or by our parameter, which goes no further."""
    address = parse_address(f"postgresql://{pooled}")
    assert address.pooled
    assert "pooler" not in address.dsn


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://u:old@a,b/db?x=1", "postgresql://u:n%40w%2F@a,b/db?x=1"),
        ("postgresql://u@a/db", "postgresql://u:n%40w%2F@a/db"),
        ("postgresql:///db?host=a&user=u", "postgresql:///db?host=a&user=u&password=n%40w%2F"),
    ],
)
def test_password_of_a_file(tmp_path: Path, dsn: str, expected: str) -> None:
    """The password of the file takes the place of the address's own, without the line's end."""
    file = tmp_path / "password"
    file.write_text("n@w/\n")
    assert with_password(dsn, file) == expected
    assert with_password(dsn, None) == dsn
