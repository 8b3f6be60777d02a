"""Secrets in files."""

from pathlib import Path

import pytest

from wingmanmatch_server.doctor.given import Given
from wingmanmatch_server.secret_files import is_secret
from wingmanmatch_server.settings import Settings, SettingsError, load_settings

SECRETS = [name for name, field in Settings.model_fields.items() if is_secret(field)]
SECRET = "hunter2 that is long enough, " + "x" * 32
# What each of these fields accepts.
VALUES = {
    "database_url": "postgresql://ada:hunter2@db/app",
    "redis_url": "redis://:hunter2@cache:6379/0",
    "resend_webhook_secret": "whsec_" + "A" * 32,
    "signing_secret": "hunter2 and what makes it thirty-two long",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Start from no settings at all."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name}_file".upper(), raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("nowhere"))


def problems() -> list[str]:
    """Return the sentences about the environment as it is."""
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "hunter2" not in str(raised.value)
    return raised.value.problems


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_be_in_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever setting is a secret, the variable with `_FILE` leads to its value."""
    value = VALUES.get(name, SECRET)
    (tmp_path / "secret").write_text(value + "\n")
    monkeypatch.setenv(f"{name}_file".upper(), str(tmp_path / "secret"))
    assert getattr(load_settings(), name).get_secret_value() == value


def test_there_are_secrets() -> None:
    """The list that the tests go through has what it must."""
    assert {"signing_secret", "anthropic_api_key", "supabase_service_key", "database_url"} <= set(SECRETS)


@pytest.mark.parametrize(
    ("content", "value"),
    [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a \n", " a "), ("ä", "ä")],
)
def test_one_line_break_does_not_count(
    content: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value is the content to the byte, but for one line break at its end."""
    (tmp_path / "key").write_bytes(content.encode())
    monkeypatch.setenv("ANTHROPIC_API_KEY_FILE", str(tmp_path / "key"))
    key = load_settings().anthropic_api_key
    assert key
    assert key.get_secret_value() == value


def test_variable_may_be_in_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` may name the file; the environment wins over it."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    Path(".env").write_text(f"RESEND_API_KEY_FILE={tmp_path / 'one'}\n")
    assert load_settings().resend_api_key.get_secret_value() == "one"  # type: ignore[union-attr]
    monkeypatch.setenv("RESEND_API_KEY_FILE", str(tmp_path / "two"))
    assert load_settings().resend_api_key.get_secret_value() == "two"  # type: ignore[union-attr]


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`NAME_FILE=` is the same as no line."""
    monkeypatch.setenv("SIGNING_SECRET_FILE", "")
    assert load_settings().signing_secret is None


def test_problems_are_reported_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file that does not serve has one sentence, beside all other problems, and none has a secret."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"hunter2\xff")
    (tmp_path / "good").write_text(SECRET)
    monkeypatch.setenv("SIGNING_SECRET_FILE", str(tmp_path / "missing"))
    monkeypatch.setenv("RESEND_API_KEY_FILE", str(tmp_path))
    monkeypatch.setenv("SUPABASE_JWT_SECRET_FILE", str(tmp_path / "bytes"))
    monkeypatch.setenv("ANTHROPIC_API_KEY_FILE", str(tmp_path / "empty"))
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "good"))
    monkeypatch.setenv("REDIS_URL", VALUES["redis_url"])
    monkeypatch.setenv("MAX_DAILY_MATCHES", "0")
    assert sorted(problems()) == [
        "ANTHROPIC_API_KEY is missing: the file that ANTHROPIC_API_KEY_FILE names is empty",
        "MAX_DAILY_MATCHES input should be greater than or equal to 1",
        "REDIS_URL and REDIS_URL_FILE are both set: set one of them",
        "RESEND_API_KEY cannot be read from the file that RESEND_API_KEY_FILE names: Is a directory",
        "SIGNING_SECRET cannot be read from the file that SIGNING_SECRET_FILE names: No such file or directory",
        "SUPABASE_JWT_SECRET cannot be read from the file that SUPABASE_JWT_SECRET_FILE names: it is not UTF-8",
    ]


def test_rules_hold_for_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret from a file is checked as one from a variable is."""
    (tmp_path / "short").write_text("hunter2")
    monkeypatch.setenv("SIGNING_SECRET_FILE", str(tmp_path / "short"))
    assert problems() == ["SIGNING_SECRET must have at least 32 characters"]


def test_settings_that_are_files_themselves_stay_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """API_KEYS_FILE, which is read again when it changes, is no secret's file."""
    monkeypatch.setenv("API_KEYS_FILE", str(tmp_path / "keys"))
    settings = load_settings()
    assert (settings.api_keys, settings.api_keys_file) == ("", tmp_path / "keys")


def test_doctor_reads_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor finds secrets in files, and goes on without those it cannot read."""
    (tmp_path / "key").write_text("hunter2\n")
    monkeypatch.setenv("RESEND_API_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("ANTHROPIC_API_KEY_FILE", str(tmp_path / "missing"))
    given = Given()
    assert given.resend_api_key
    assert given.resend_api_key.get_secret_value() == "hunter2"
    assert given.anthropic_api_key is None
