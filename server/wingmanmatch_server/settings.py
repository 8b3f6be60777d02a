"""Settings, from the environment and from `.env` in the working directory. All problems are reported at once."""

import ipaddress
from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from wingmanmatch_server.telemetry.logs import LogFormat

MAX_PORT = 65535
REQUIRED_IN_PRODUCTION = ("anthropic_api_key", "supabase_url", "supabase_service_key", "supabase_anon_key")


class SettingsError(Exception):
    """The environment cannot be used; `problems` has a sentence for each setting at fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Environment(StrEnum):
    """Where the server runs."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """Each field is the environment variable of its name in upper case; an empty variable counts as unset."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    environment: Environment = Environment.DEVELOPMENT
    grpc_listen: str = "127.0.0.1:50051"
    http_listen: str = "127.0.0.1:9464"
    drain_delay: float = Field(3.0, ge=0, le=600, description="Seconds between NOT_SERVING and the end of service.")
    shutdown_grace: float = Field(15.0, ge=0, le=600, description="Seconds that calls under way may still take.")
    log_format: LogFormat = "text"

    data_dir: Path = Path(".wingmanmatch")
    supabase_url: str | None = None
    supabase_service_key: SecretStr | None = None
    supabase_anon_key: SecretStr | None = None
    database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    anthropic_api_key: SecretStr | None = None
    resend_api_key: SecretStr | None = None
    mail_from: str = "WingmanMatch <wingman@localhost>"

    max_daily_matches: int = Field(10, ge=1, le=1000)

    @field_validator("grpc_listen", "http_listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > MAX_PORT:
            raise ValueError("must be HOST:PORT, such as 127.0.0.1:50051")
        return value

    @field_validator("grpc_listen")
    @classmethod
    def _loopback(cls, value: str) -> str:
        if not _is_loopback(value.rpartition(":")[0]):
            raise ValueError("must be a loopback address: no credential is configured by which to tell callers apart")
        return value

    @field_validator(*REQUIRED_IN_PRODUCTION)
    @classmethod
    def _required_in_production(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("environment") is Environment.PRODUCTION:
            raise ValueError("is required when ENVIRONMENT is production")
        return value

    @field_validator("database_url")
    @classmethod
    def _reachable_without_rest(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("supabase_url"):
            raise ValueError("is required beside SUPABASE_URL: this version reaches Supabase's PostgreSQL directly")
        return value

    @field_validator("resend_api_key")
    @classmethod
    def _outbox_only(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            raise ValueError("must be unset: this version writes mail to the outbox folder only")
        return value


def load_settings() -> Settings:
    """Return the settings. Raises SettingsError with every problem; values never appear in it."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError([_sentence(problem) for problem in error.errors()]) from None


def _sentence(problem: ErrorDetails) -> str:
    name = ".".join(str(part) for part in problem["loc"]).upper()
    text = problem["msg"].removeprefix("Value error, ")
    return f"{name} {text[0].lower()}{text[1:]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
