"""Settings from the environment."""

import pytest

from wingmanmatch_server.settings import Environment, Settings, SettingsError, load_settings

REQUIRED = {
    "SIGNING_SECRET": "x" * 32,
    "ANTHROPIC_API_KEY": "sk-ant-hunter2",
    "SUPABASE_URL": "https://project.example.test",
    "SUPABASE_SERVICE_KEY": "service-hunter2",
    "SUPABASE_ANON_KEY": "anon-hunter2",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Start from no settings at all."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("nowhere"))


def problems() -> list[str]:
    """Return the sentences about the environment as it is."""
    with pytest.raises(SettingsError) as raised:
        load_settings()
    return raised.value.problems


def test_nothing_is_needed_for_development() -> None:
    """Without any variable the server runs on loopback."""
    settings = load_settings()
    assert (settings.environment, settings.grpc_listen) == (Environment.DEVELOPMENT, "127.0.0.1:50051")


@pytest.mark.parametrize("missing", REQUIRED)
def test_production_needs(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Each of the required variables is missed by name."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    for name in REQUIRED.keys() - {missing}:
        monkeypatch.setenv(name, REQUIRED[name])
    assert [problem for problem in problems() if problem.startswith(missing)]


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`NAME=` in a file is the same as no line."""
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("MAX_DAILY_MATCHES", "")
    assert load_settings().database_url is None
    assert load_settings().max_daily_matches == 10


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "10.0.0.1:50051", "[::]:50051", "example.org:50051"])
def test_only_loopback_without_credentials(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """An address that others could reach is refused."""
    monkeypatch.setenv("GRPC_LISTEN", address)
    (problem,) = problems()
    assert problem.startswith("GRPC_LISTEN must be a loopback address")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:1", "[::1]:50051", "127.8.8.8:65535"])
def test_loopback_addresses(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Every form of loopback is accepted."""
    monkeypatch.setenv("GRPC_LISTEN", address)
    assert load_settings().grpc_listen == address


@pytest.mark.parametrize("address", ["50051", ":50051", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1"])
def test_malformed_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """An address is HOST:PORT."""
    monkeypatch.setenv("HTTP_LISTEN", address)
    (problem,) = problems()
    assert problem.startswith("HTTP_LISTEN must be HOST:PORT")


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("REDIS_URL", "http://:hunter2@host"),
        ("REDIS_URL", "redis+sentinel://:hunter2@host:26379"),
        ("DATABASE_URL", "mysql://user:hunter2@host/database"),
        ("SUPABASE_URL", "project.supabase.co"),
    ],
)
def test_address_of_another_kind(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    """What cannot be the address of a dependency is refused at start, by name and rule, without its password."""
    monkeypatch.setenv(name, address)
    said = [problem for problem in problems() if problem.startswith(f"{name} must ")]
    assert len(said) == 1
    assert "hunter2" not in said[0]


def test_all_problems_come_at_once_and_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable at fault has its sentence, and no value is repeated."""
    for name, value in {"ENVIRONMENT": "moon-secret", "DRAIN_DELAY": "-1", "LOG_FORMAT": "xml-secret"}.items():
        monkeypatch.setenv(name, value)
    said = problems()
    assert sorted(problem.split()[0] for problem in said) == ["DRAIN_DELAY", "ENVIRONMENT", "LOG_FORMAT"]
    assert "secret" not in " ".join(said)


def test_secrets_do_not_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither text nor JSON of the settings shows a key or a password."""
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@host/database")
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@host")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("feature", ["match_sharing", "challenge_sharing"])
def test_sharing_is_off_for_a_reason(monkeypatch: pytest.MonkeyPatch, feature: str) -> None:
    """It is on unless it is not wanted."""
    assert Settings().why_not_shared(feature) == ""
    monkeypatch.setenv(f"ENABLE_{feature.upper()}", "false")
    assert Settings().why_not_shared(feature) == f"ENABLE_{feature.upper()} is false"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "REDIS_PASSWORD_FILE and REDIS_URL are needed together"),
        ("redis://:secret@host", "REDIS_PASSWORD_FILE replaces the password of REDIS_URL, which must have none"),
    ],
)
def test_password_file_of_redis(monkeypatch: pytest.MonkeyPatch, url: str | None, said: str) -> None:
    """The file needs a URL, and one without a password."""
    monkeypatch.setenv("REDIS_PASSWORD_FILE", "/run/secrets/redis")
    if url:
        monkeypatch.setenv("REDIS_URL", url)
    assert problems() == [said]


@pytest.mark.parametrize(("name", "taken"), [("HTTP_LISTEN", "GRPC_LISTEN"), ("ADMIN_LISTEN", "HTTP_LISTEN")])
def test_two_listeners_on_one_address(monkeypatch: pytest.MonkeyPatch, name: str, taken: str) -> None:
    """An address that another setting has is named before anything is started; ports that the system chooses differ."""
    monkeypatch.setenv(taken, "127.0.0.1:7000")
    monkeypatch.setenv(name, "127.0.0.1:7000")
    assert problems() == [f"{name} must be another address than {taken}"]
    monkeypatch.setenv(taken, "127.0.0.1:0")
    monkeypatch.setenv(name, "127.0.0.1:0")
    load_settings()


def production(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Put what production needs into the environment, and the given variables."""
    for name, value in (REQUIRED | {"ENVIRONMENT": "production"} | variables).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "10.0.0.1:50051", "[::]:50051"])
def test_production_needs_tls(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """An address that others reach needs TLS in production, or the word that a proxy terminates it."""
    production(monkeypatch, GRPC_LISTEN=address)
    (problem,) = problems()
    assert problem.startswith("GRPC_LISTEN must be a loopback address in production without TLS: ")
    monkeypatch.setenv("INSECURE_BEHIND_PROXY", "true")
    assert load_settings().grpc_listen == address
    monkeypatch.delenv("INSECURE_BEHIND_PROXY")
    monkeypatch.setenv("TLS_CERT_FILE", "cert.pem")
    monkeypatch.setenv("TLS_KEY_FILE", "key.pem")
    assert load_settings().grpc_listen == address


def test_production_may_listen_on_loopback_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy on the same host needs no more to be said."""
    production(monkeypatch)
    assert load_settings().grpc_listen == "127.0.0.1:50051"


def test_supabase_is_reached_by_https_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP, as Supabase's CLI serves it, is for development."""
    monkeypatch.setenv("SUPABASE_ANON_KEY", "anon")
    monkeypatch.setenv("SUPABASE_SERVICE_KEY", "service")
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:54321")
    assert load_settings().supabase_url == "http://127.0.0.1:54321"
    production(monkeypatch, SUPABASE_URL="http://127.0.0.1:54321")
    assert problems() == ["SUPABASE_URL must begin with https:// in production: keys and personal data go there"]


@pytest.mark.parametrize(
    ("environment", "said", "expected"),
    [
        ("development", "", True),
        ("development", "false", False),
        ("production", "", False),
        ("production", "true", True),
    ],
)
def test_reflection(monkeypatch: pytest.MonkeyPatch, environment: str, said: str, expected: object) -> None:
    """The server supports reflection as the setting says, and without it in development only."""
    production(monkeypatch, ENVIRONMENT=environment, ENABLE_REFLECTION=said)
    assert load_settings().reflects is expected


@pytest.mark.parametrize(
    "hosts", ["https://a.example.org", "a.example.org/x", "a.example.org:443", "localhost", "10.0.0.1", "*.example.org"]
)
def test_photo_hosts_are_names(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    """Whatever is not the name of a host is refused at start."""
    monkeypatch.setenv("PHOTO_HOSTS", f"ok.example.org, {hosts}")
    (problem,) = problems()
    assert problem.startswith("PHOTO_HOSTS must be names of hosts")


def test_photo_hosts_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of hosts are compared in lower case."""
    monkeypatch.setenv("PHOTO_HOSTS", "A.Example.org, b.example.org")
    assert load_settings().allowed_photo_hosts == ["a.example.org", "b.example.org"]


def test_unknown_scope_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry with a scope that does not exist is a problem of its setting."""
    monkeypatch.setenv("API_KEYS", f"booking:bogus:{'0' * 64}")
    (problem,) = [each for each in problems() if each.startswith("API_KEYS")]
    assert "there is no scope 'bogus'; the scopes are *, admin, challenge" in problem
