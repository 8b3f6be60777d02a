"""`wingmanmatch seed`, as a person runs it."""

from pathlib import Path

from support.served import command, refusal
from wingmanmatch_server.settings import REQUIRED_IN_PRODUCTION


def test_seeds_the_embedded_database(tmp_path: Path) -> None:
    """It starts the database below DATA_DIR, brings it to the schema, settles people, and says how many."""
    with command("seed", "--profiles", "1200", DATA_DIR=str(tmp_path)) as process:
        said, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    assert said.startswith("1,200 people are settled")


def test_refuses_production(tmp_path: Path) -> None:
    """People who do not exist have no place there."""
    required = {name.upper(): "something that is long enough for a secret" for name in REQUIRED_IN_PRODUCTION}
    addresses = {"SUPABASE_URL": "https://project.example.org", "REDIS_URL": "redis://127.0.0.1:1"}
    keys = {"SUPABASE_SERVICE_KEY": "service", "SUPABASE_ANON_KEY": "anon", "ANTHROPIC_API_KEY": "sk-1"}
    production = required | addresses | keys | {"ENVIRONMENT": "production", "DATA_DIR": str(tmp_path)}
    assert "seed is for development: ENVIRONMENT is production" in refusal("seed", **production)


def test_refuses_rest(tmp_path: Path) -> None:
    """REST has no way to copy people in."""
    settings = {
        "SUPABASE_URL": "http://127.0.0.1:1",
        "SUPABASE_SERVICE_KEY": "service",
        "SUPABASE_ANON_KEY": "anon",
        "DATA_DIR": str(tmp_path),
    }
    assert "DATABASE_URL is required to seed" in refusal("seed", **settings)
