"""What is written about the settings is what the settings are."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from wingmanmatch_server.settings import REQUIRED_IN_PRODUCTION, Settings

ROOT = Path(__file__).resolve().parents[2]
NAMES = [name.upper() for name in Settings.model_fields]


@pytest.fixture(scope="module")
def page() -> str:
    """docs/configuration.md."""
    return (ROOT / "docs" / "configuration.md").read_text("utf-8")


def test_page_is_fresh(page: str) -> None:
    """docs/configuration.md is what docs/generate_configuration.py writes."""
    assert page == runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))["render"]()


def test_page_has_every_setting_once_and_explained(page: str) -> None:
    """Each setting has one line, with a sentence on what it does; those that production needs say so."""
    rows = [[cell.strip() for cell in line.split(" | ")] for line in page.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == [f"| `{name}`" for name in NAMES]
    for row in rows:
        assert len(row[3].removesuffix("|")) > 10, f"{row[0]} has no description"
    required = {row[0].strip("| `").lower() for row in rows if "Required in production" in row[3]}
    assert required == set(REQUIRED_IN_PRODUCTION)


def test_example_lists_exactly_the_settings() -> None:
    """.env.example has each setting on one line, set or commented out, and no other."""
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    assert sorted(found[1] for line in lines if (found := re.match(r"#?([A-Z][A-Z_]+)=", line))) == sorted(NAMES)


def test_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copying .env.example as it is changes nothing."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    assert Settings(_env_file=ROOT / ".env.example") == Settings(_env_file=None)


def test_guide_to_supabase_names_only_settings_that_exist() -> None:
    """docs/supabase.md has ten steps, and each variable it names is a setting."""
    guide = (ROOT / "docs" / "supabase.md").read_text("utf-8")
    assert re.findall(r"^## (\d+)\.", guide, re.MULTILINE) == [str(number) for number in range(1, 11)]
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)", guide)) | set(re.findall(r"\b([A-Z]+_[A-Z_]+)=", guide))
    assert named <= set(NAMES)
    assert {"DATABASE_URL", "SUPABASE_URL", "SUPABASE_SERVICE_KEY", "SUPABASE_ANON_KEY"} <= named


def test_configuration_of_supabases_cli_leads_to_what_is_there() -> None:
    """supabase/config.toml is TOML, exposes the schema of the functions, and seeds from files that exist."""
    configuration = tomllib.loads((ROOT / "supabase" / "config.toml").read_text("utf-8"))
    assert configuration["project_id"] == "wingmanmatch"
    assert configuration["api"]["schemas"] == ["public"]
    assert configuration["db"]["major_version"] in range(15, 19)
    assert all((ROOT / "supabase" / path).is_file() for path in configuration["db"]["seed"]["sql_paths"])
