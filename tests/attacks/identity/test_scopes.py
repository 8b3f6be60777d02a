"""Scopes that do not exist: each would be a credential that fails later, or opens what is added under that name."""

from pathlib import Path

import pytest

from support.served import refusal
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

ENTRY = f"booking:matching+bogus:{'0' * 64}"
SENTENCE = "there is no scope 'bogus'; the scopes are *, admin, challenge, coaching, matching, meetup, notification"


def test_key_for_an_unknown_scope() -> None:
    """`keys create` makes none, and names the scope and those that there are."""
    assert SENTENCE in refusal("keys", "create", "x", "--scope", "bogus")


def test_entry_with_an_unknown_scope(tmp_path: Path) -> None:
    """A server whose API_KEYS has one does not start."""
    assert SENTENCE in refusal("serve", DATA_DIR=str(tmp_path), API_KEYS=ENTRY)


def test_file_with_an_unknown_scope(tmp_path: Path, fresh_database_dsn: str, engines: EmbeddedEngines) -> None:
    """A server whose API_KEYS_FILE has one does not start."""
    file = tmp_path / "keys"
    file.write_text(f"# back ends\n{ENTRY}\n")
    own = {"GRPC_LISTEN": "127.0.0.1:0", "HTTP_LISTEN": "127.0.0.1:0", "DATA_DIR": str(tmp_path)}
    engine = {"DATABASE_URL": fresh_database_dsn, "REDIS_URL": engines.redis_url}
    assert f"keys, line 2: {SENTENCE}" in refusal("serve", API_KEYS_FILE=str(file), **own, **engine)


@pytest.mark.parametrize("scope", ["", "matching,session", "matching:session", "Matching"])
def test_scope_of_no_form(scope: str) -> None:
    """What cannot be a scope is refused as well, and makes no key of other scopes than were meant."""
    assert "the new key: " in refusal("keys", "create", "x", "--scope", scope)
