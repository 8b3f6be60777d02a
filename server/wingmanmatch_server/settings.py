"""Settings, from the environment and from `.env` in the working directory. All problems are reported at once."""

import ipaddress
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsConfigDict

from wingmanmatch_server.drivers.redis_url import parse_redis_url, without_account
from wingmanmatch_server.identity.api_keys import parse_keys
from wingmanmatch_server.secret_files import WithSecretFiles
from wingmanmatch_server.telemetry.logs import LogFormat
from wingmanmatch_server.texts.photo_addresses import HOST

MAX_PORT = 65535
MIN_SIGNING_SECRET = 32
EMBEDDED_POOL_SIZE = 20  # for which the embedded PostgreSQL has connections
MIN_JWT_SECRET = 32  # RFC 7518, section 3.2
# Each of these lets the server tell callers apart.
CREDENTIALS = ("api_keys", "api_keys_file", "supabase_jwt_secret", "tls_client_ca_file")
REQUIRED_IN_PRODUCTION = (
    "anthropic_api_key",
    "supabase_url",
    "supabase_service_key",
    "supabase_anon_key",
    "signing_secret",
)


class SettingsError(Exception):
    """The environment cannot be used; `problems` has a sentence for each setting at fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Environment(StrEnum):
    """Where the server runs."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(WithSecretFiles):
    """Each field is the environment variable of its name in upper case; an empty variable counts as unset."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    environment: Environment = Field(
        Environment.DEVELOPMENT, description="In production the server refuses to start without what it then needs."
    )
    drain_delay: float = Field(
        3.0,
        ge=0,
        le=600,
        description="Seconds between NOT_SERVING and the end of service after SIGTERM, for load balancers to notice.",
    )
    shutdown_grace: float = Field(15.0, ge=0, le=600, description="Seconds that calls under way may take after that.")
    log_format: LogFormat = Field("text", description="text for people, json for machines.")

    data_dir: Path = Field(
        Path(".wingmanmatch"), description="The data of the embedded PostgreSQL and Valkey, and mail in outbox/."
    )
    supabase_url: str | None = Field(
        None, description="The address of a Supabase project's API, such as https://PROJECT.supabase.co."
    )
    supabase_service_key: SecretStr | None = Field(
        None, description="The project's secret key (sb_secret_…), or the older service_role key."
    )
    supabase_anon_key: SecretStr | None = Field(
        None, description="The project's publishable key (sb_publishable_…), or the older anon key."
    )
    api_keys: str = Field(
        "",
        description="Who may call, as `wingmanmatch keys create` prints it: NAME:SCOPES:HASH, separated by commas; "
        ":CALLS_PER_SECOND after the hash says how often.",
    )
    api_keys_file: Path | None = Field(
        None, description="A file of such entries, one a line; read again when it changes."
    )
    supabase_jwt_secret: SecretStr | None = Field(
        None, description="Accepts users' tokens that the project signs by its shared secret (HS256)."
    )
    max_token_lifetime: int = Field(
        86_400,
        ge=60,
        le=31_536_000,
        description="The most seconds for which a user's token may be valid; one that is valid for longer is refused.",
    )
    allow_anonymous_users: bool = Field(
        default=False, description="Whether tokens of Supabase's anonymous users are accepted as users' tokens."
    )
    tls_cert_file: Path | None = Field(
        None, description="The certificate chain to serve TLS with (PEM); read again when it changes."
    )
    tls_key_file: Path | None = Field(None, description="The key of TLS_CERT_FILE (PEM).")
    tls_client_ca_file: Path | None = Field(
        None,
        description="Requires client certificates issued by this authority (PEM); the certificate's name is the "
        "caller, and may call what an entry of that name allows.",
    )
    insecure_behind_proxy: bool = Field(
        default=False,
        description="Allows a server in production to take unencrypted calls on GRPC_LISTEN: true only where a proxy "
        "terminates TLS in front of it, and nothing else reaches the port.",
    )
    trusted_proxies: str = Field(
        "",
        description="Networks of proxies, such as 10.0.0.0/8, separated by commas, whose x-forwarded-for is believed.",
    )
    enable_reflection: bool | None = Field(
        None,
        description="Whether grpcurl and its like may ask for descriptors; if it is not set, in development only.",
    )
    grpc_listen: str = Field(
        "127.0.0.1:50051",
        description="Where gRPC calls are taken; a loopback address, as long as no credential tells callers apart, and "
        "in production without TLS or INSECURE_BEHIND_PROXY.",
    )
    http_listen: str = Field(
        "127.0.0.1:9464",
        description="Where Resend reports on emails, and people unsubscribe.",
    )
    admin_listen: str = Field(
        "127.0.0.1:9465",
        description="Where Prometheus reads /metrics, and probes /livez, /readyz and /healthz; not for the public.",
    )
    public_url: str | None = Field(
        None, description="Where people reach HTTP_LISTEN; without it mails have no link that turns them off."
    )
    signing_secret: SecretStr | None = Field(
        None,
        description="Signs links, seals page tokens and keys digests: 32 characters or more, the same in every "
        "replica. Several with a comma while one replaces another: the first for what is new, all are accepted. "
        "Required in production; in development one is made and kept.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that serve, one a core: on the port of GRPC_LISTEN and those that follow it.",
    )
    max_connection_age: float = Field(
        600.0,
        ge=1,
        le=86400,
        description="Seconds after which a client's connection is told to go, so that clients find new replicas.",
    )
    max_connections: int = Field(
        10_000, ge=1, le=1_000_000, description="Connections of clients that a process has; further ones are closed."
    )
    max_http_connections: int = Field(
        256,
        ge=1,
        le=100_000,
        description="Connections that HTTP_LISTEN has; one more takes the place of the one that has waited longest "
        "for a request.",
    )
    max_concurrent_streams: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Calls and streams that one connection may have open; a client's further ones wait in the client.",
    )
    max_concurrent_calls: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Calls that a process has under way at a time; further ones are RESOURCE_EXHAUSTED.",
    )
    max_open_streams: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Streams without an end, such as WatchMatches, that a process has open beside those calls.",
    )
    max_deadline: float = Field(
        120.0, gt=0, le=3600, description="Seconds that a call may take, whatever deadline its client sets."
    )

    database_url: SecretStr | None = Field(
        None, description="Instead of the embedded PostgreSQL: any PostgreSQL from 15 to 18, such as Supabase's."
    )
    migrate_on_start: bool = Field(
        default=True,
        description="Whether a server applies missing migrations when it starts; false where `wingmanmatch migrate` "
        "does that beforehand, as a job with the address of the schema's owner.",
    )
    database_password_file: Path | None = Field(
        None,
        description="A file with the password for DATABASE_URL, read for each new connection, so that it may change.",
    )
    database_pool_size: int = Field(
        20,
        ge=2,
        le=1000,
        description="Connections to the database, or requests to Supabase, that a process has under way at a time; "
        "two more connections listen and probe.",
    )
    database_function_share: float = Field(
        0.5, gt=0, le=1, description="The part of them that calls of one SQL function may hold."
    )
    database_background_share: float = Field(
        0.25, gt=0, le=1, description="The part of them that background work, such as sending emails, may hold."
    )
    database_calls_per_user: int = Field(
        4, ge=1, le=1000, description="Reads about one user, and as many changes, that may be under way at a time."
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Instead of the embedded Valkey: Redis 6.2 or later, or any Valkey; rediss:// for TLS, "
        "redis+sentinel://HOST:PORT,…/SERVICE, redis+cluster://HOST:PORT,….",
    )
    redis_password_file: Path | None = Field(
        None,
        description="A file with the password for REDIS_URL, which then has none; read again for every new "
        "connection, so that the password can change without a restart.",
    )
    redis_timeout: float = Field(5.0, gt=0, le=60, description="Seconds to wait for Redis, to connect and to answer.")
    anthropic_api_key: SecretStr | None = Field(None, description="The key for Claude, who coaches.")
    enable_ai_coaching: bool = Field(
        default=True, description="Whether Claude coaches; without ANTHROPIC_API_KEY it does not."
    )
    coaching_model: str = Field(
        "claude-sonnet-5-5", pattern=r"^[A-Za-z0-9._:@/-]+$", description="The name of the Claude model that coaches."
    )
    coaching_safety_model: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._:@/-]*$",
        description="The name of a small Claude model that is asked what a message is about where the safety patterns "
        "are not certain, before the coach answers; its tokens count for the person's budget. Without it the patterns "
        "alone decide.",
    )
    coaching_max_output_tokens: int = Field(1024, ge=64, le=8192, description="Tokens that one answer may have.")
    coaching_timeout: float = Field(
        30.0, gt=0, le=300, description="Seconds to wait for Claude, to connect and for each piece of an answer."
    )
    coaching_daily_tokens: int = Field(
        100_000,
        ge=1000,
        le=5_000_000,
        description="Tokens, read and written, that coaching may cost a person in a day; policy coaching_tokens.",
    )
    coaching_conversation_hours: int = Field(
        72, ge=1, le=24 * 90, description="Hours after which a conversation that is not continued is forgotten."
    )
    resend_api_key: SecretStr | None = Field(
        None, description="The key for Resend, which sends the mail; without it mail goes to the outbox folder."
    )
    resend_api_url: str = Field(
        "https://api.resend.com", description="Where Resend is, if not at its own address; for tests and proxies."
    )
    mail_from: str = Field(
        "WingmanMatch <wingman@localhost>", description="The sender of mails, at a domain that Resend has verified."
    )
    resend_webhook_secret: SecretStr | None = Field(
        None,
        description="By what Resend signs its events, whsec_…; two with a comma while one replaces the other. Without "
        "it /webhooks/resend is not there.",
    )
    mail_queue_limit: int = Field(
        10_000, ge=1, description="Mails that may be due and wait before SendNotification takes no more."
    )
    app_url: str | None = Field(
        None, description="The product's own address, to which the buttons of mails lead; without it they have none."
    )
    mail_reply_to: str | None = Field(None, description="Who gets the answers to mails; without it, the sender.")

    max_daily_matches: int = Field(
        10, ge=1, le=1000, description="Match requests that a person may make in any 24 hours."
    )
    photo_hosts: str = Field(
        "",
        description="Hosts on which people's pictures may lie, such as images.example.org, separated by commas; "
        "without it only Supabase's own storage, below SUPABASE_URL.",
    )
    enable_rate_limiting: bool = Field(default=True, description="Whether calls are charged to their rate limits.")
    rate_limits_file: Path | None = Field(
        None, description="A TOML file that changes and adds rate limit policies; read again whenever it changes."
    )

    enable_match_sharing: bool = Field(
        default=True, description="Whether people may show by a link that they found a wingman."
    )
    enable_challenge_sharing: bool = Field(
        default=True, description="Whether people may show by a link which challenge they took on."
    )
    challenge_duration_days: int = Field(
        7, ge=1, le=365, description="Days within which a challenge that was taken on has to be submitted."
    )

    session_timeout_hours: int = Field(
        24, ge=1, le=24 * 365, description="Hours that a user session lives without being extended, and the most."
    )
    session_max_age_days: int = Field(
        30, ge=1, le=3650, description="Days after which a user session ends, however often it was extended."
    )

    @field_validator("grpc_listen", "http_listen", "admin_listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > MAX_PORT:
            raise ValueError("must be HOST:PORT, such as 127.0.0.1:50051")
        return value

    @field_validator("http_listen", "admin_listen")
    @classmethod
    def _apart(cls, value: str, info: ValidationInfo) -> str:
        for name in ("grpc_listen", "http_listen"):
            if name != info.field_name and value == info.data.get(name) and not value.endswith(":0"):
                raise ValueError(f"must be another address than {name.upper()}")
        return value

    @field_validator("grpc_listen")
    @classmethod
    def _closed_to_strangers(cls, value: str, info: ValidationInfo) -> str:
        if not _is_loopback(value.rpartition(":")[0]) and not _authenticates(info.data):
            raise ValueError(
                "must be a loopback address: no credential is configured by which to tell callers apart; "
                "run `wingmanmatch keys create NAME` and set API_KEYS to the entry that it prints"
            )
        return value

    @field_validator("grpc_listen")
    @classmethod
    def _encrypted_in_production(cls, value: str, info: ValidationInfo) -> str:
        encrypted = info.data.get("tls_cert_file") or info.data.get("insecure_behind_proxy")
        in_production = info.data.get("environment") is Environment.PRODUCTION
        if in_production and not encrypted and not _is_loopback(value.rpartition(":")[0]):
            raise ValueError(
                "must be a loopback address in production without TLS: set TLS_CERT_FILE and TLS_KEY_FILE, "
                "or INSECURE_BEHIND_PROXY=true where a proxy terminates TLS in front of the server"
            )
        return value

    @field_validator("workers")
    @classmethod
    def _have_ports(cls, value: int, info: ValidationInfo) -> int:
        first = int(info.data.get("grpc_listen", ":0").rpartition(":")[2])
        if first + value - 1 > MAX_PORT:
            raise ValueError(f"need as many ports from that of GRPC_LISTEN on, at most {MAX_PORT}")
        return value

    @field_validator("api_keys")
    @classmethod
    def _entries(cls, value: str) -> str:
        parse_keys(value, "API_KEYS")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_redis_url(value.get_secret_value())
        return value

    @field_validator("redis_password_file")
    @classmethod
    def _with_redis_url(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        url = info.data.get("redis_url")
        if value is not None and url is None:
            raise ValueError("and REDIS_URL are needed together")
        if value is not None and url is not None:
            without_account(url.get_secret_value())
        return value

    @field_validator("database_url")
    @classmethod
    def _database_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return value

    @field_validator("database_password_file")
    @classmethod
    def _beside_the_address(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and not info.data.get("database_url"):
            raise ValueError("is of use beside DATABASE_URL only")
        return value

    @field_validator("database_pool_size")
    @classmethod
    def _within_the_engine(cls, value: int, info: ValidationInfo) -> int:
        embedded = not info.data.get("database_url") and not info.data.get("supabase_url")
        if embedded and value > EMBEDDED_POOL_SIZE:
            raise ValueError(f"may be {EMBEDDED_POOL_SIZE} at most with the embedded PostgreSQL; set DATABASE_URL")
        return value

    @field_validator("supabase_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/\s]+/?", value):
            raise ValueError("must be an address such as https://PROJECT.supabase.co")
        return value

    @field_validator("supabase_url")
    @classmethod
    def _https_in_production(cls, value: str | None, info: ValidationInfo) -> str | None:
        in_production = info.data.get("environment") is Environment.PRODUCTION
        if value is not None and in_production and not value.startswith("https://"):
            raise ValueError("must begin with https:// in production: keys and personal data go there")
        return value

    @field_validator("supabase_jwt_secret")
    @classmethod
    def _long_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_JWT_SECRET:
            raise ValueError(f"must have at least {MIN_JWT_SECRET} characters")
        return value

    @field_validator("public_url", "app_url")
    @classmethod
    def _public_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s?#]+", value):
            raise ValueError("must be an address such as https://notify.example.org")
        return value

    @field_validator("signing_secret")
    @classmethod
    def _long_signing_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(each) < MIN_SIGNING_SECRET for each in _secrets(value) or [""]):
            raise ValueError(f"must have at least {MIN_SIGNING_SECRET} characters")
        return value

    @field_validator("resend_webhook_secret")
    @classmethod
    def _webhook_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        for secret in _secrets(value):
            if not re.fullmatch(r"whsec_[A-Za-z0-9+/]{16,}={0,2}", secret):
                raise ValueError("must be whsec_ and base64, as Resend shows it")
        return value

    @field_validator("tls_key_file", "tls_client_ca_file")
    @classmethod
    def _with_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        key_missing = info.field_name == "tls_key_file" and value is None and info.data.get("tls_cert_file")
        if key_missing or (value is not None and not info.data.get("tls_cert_file")):
            raise ValueError("and TLS_CERT_FILE are needed together")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in _split(value):
            ipaddress.ip_network(network)
        return value

    @field_validator("photo_hosts")
    @classmethod
    def _host_names(cls, value: str) -> str:
        for host in _split(value):
            if not HOST.fullmatch(host.lower()):
                raise ValueError("must be names of hosts, without scheme, port and path, such as images.example.org")
        return value

    @property
    def allowed_photo_hosts(self) -> list[str]:
        """PHOTO_HOSTS, parsed, in lower case."""
        return [host.lower() for host in _split(self.photo_hosts)]

    @property
    def authenticates(self) -> bool:
        """Whether callers need a credential: one is configured, or this is production."""
        return _authenticates(vars(self))

    @property
    def reflects(self) -> bool:
        """Whether the server supports reflection: as ENABLE_REFLECTION says, and by default outside production."""
        if self.enable_reflection is None:
            return self.environment is not Environment.PRODUCTION
        return self.enable_reflection

    @property
    def webhook_secrets(self) -> list[str]:
        """RESEND_WEBHOOK_SECRET, parsed."""
        return _secrets(self.resend_webhook_secret)

    @property
    def signing_secrets(self) -> list[str]:
        """SIGNING_SECRET, parsed."""
        return _secrets(self.signing_secret)

    @property
    def proxy_networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """TRUSTED_PROXIES, parsed."""
        return [ipaddress.ip_network(network) for network in _split(self.trusted_proxies)]

    @field_validator(*REQUIRED_IN_PRODUCTION)
    @classmethod
    def _required_in_production(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("environment") is Environment.PRODUCTION:
            raise ValueError("is required when ENVIRONMENT is production")
        return value

    @field_validator("supabase_service_key", "supabase_anon_key")
    @classmethod
    def _both_keys(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("supabase_url"):
            raise ValueError("is required beside SUPABASE_URL")
        return value

    @property
    def coaches(self) -> bool:
        """Whether coaching is on: it is wanted, and there is a key."""
        return self.enable_ai_coaching and self.anthropic_api_key is not None

    def why_not_shared(self, feature: str) -> str:
        """Return why match_sharing or challenge_sharing is off, in a sentence; nothing if it is on."""
        if not getattr(self, f"enable_{feature}"):
            return f"ENABLE_{feature.upper()} is false"
        return ""

    @property
    def by_rest(self) -> bool:
        """Whether the database is reached by Supabase's REST interface, and not by PostgreSQL's own protocol."""
        return self.supabase_url is not None and self.database_url is None


def load_settings() -> Settings:
    """Return the settings. Raises SettingsError with every problem; values never appear in it."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError([_sentence(problem) for problem in error.errors()]) from None


def _sentence(problem: ErrorDetails) -> str:
    name = ".".join(str(part) for part in problem["loc"]).upper()
    text = problem["msg"].removeprefix("Value error, ")
    if text.startswith(name):
        return text
    return f"{name} {text[0].lower()}{text[1:]}"


def _authenticates(values: Mapping[str, Any]) -> bool:
    # In production Supabase is there, and the keys it publishes tell its users apart.
    return values.get("environment") is Environment.PRODUCTION or any(values.get(name) for name in CREDENTIALS)


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _secrets(value: SecretStr | None) -> list[str]:
    return _split(value.get_secret_value()) if value else []


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
