"""The settings that the doctor looks at."""

from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from wingmanmatch_server.secret_files import WithSecretFiles
from wingmanmatch_server.settings import Settings


class Given(WithSecretFiles):
    """The variables of `Settings`, accepted whatever they hold: saying what is wrong is the doctor's task."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)
    tolerates_unusable_files: ClassVar[bool] = True

    data_dir: Path = Settings.model_fields["data_dir"].default
    database_url: SecretStr | None = None
    database_password_file: Path | None = None
    supabase_url: str | None = None
    supabase_service_key: SecretStr | None = None
    supabase_anon_key: SecretStr | None = None
    redis_url: SecretStr | None = None
    redis_password_file: Path | None = None
    resend_api_key: SecretStr | None = None
    mail_from: str = Settings.model_fields["mail_from"].default
    anthropic_api_key: SecretStr | None = None
