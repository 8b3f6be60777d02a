"""Secrets in files: wherever a secret setting NAME is read, NAME_FILE may name a file that holds it instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args

from pydantic import SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a secret cannot be had from its file: the rest of a sentence that begins with the setting's name."""

    reason: str


class WithSecretFiles(BaseSettings):
    """Settings of which each secret may be in a file. It is read when the settings are, as UTF-8.

    One line break at the end of the file does not count. A file that cannot be read, that is empty, or that is named
    beside the secret itself is a problem of the secret's field.
    """

    tolerates_unusable_files: ClassVar[bool] = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the files before the environment and `.env`, whose variables name them."""
        sources = (env_settings, dotenv_settings)
        variables = [source.env_vars for source in sources if isinstance(source, EnvSettingsSource)]
        files = SecretFiles(settings_cls, {name: found[name] for found in reversed(variables) for name in found})
        return (init_settings, files, *sources, file_secret_settings)

    @field_validator("*", mode="before")
    @classmethod
    def _usable(cls, value: object) -> object:
        if not isinstance(value, Unusable):
            return value
        if cls.tolerates_unusable_files:
            return None
        raise ValueError(value.reason)


class SecretFiles(PydanticBaseSettingsSource):
    """The secrets that variables named NAME_FILE lead to."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str | None]) -> None:
        """`variables` has names in lower case."""
        super().__init__(settings_cls)
        self._variables = variables

    def __call__(self) -> dict[str, Any]:
        """Return each secret that is in a file, or why it is Unusable."""
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in found.items() if value is not None}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the field's secret, None without a file; the field's name; and that it is not JSON."""
        path = self._variables.get(f"{field_name}_file") if is_secret(field) else None
        if not path:
            return None, field_name, False
        return self._secret(field_name, Path(path)), field_name, False

    def _secret(self, name: str, path: Path) -> str | Unusable:
        variable = f"{name}_file".upper()
        if self._variables.get(name):
            return Unusable(f"and {variable} are both set: set one of them")
        try:
            secret = path.read_bytes().decode()
        except OSError as error:
            return Unusable(f"cannot be read from the file that {variable} names: {error.strerror}")
        except UnicodeDecodeError:
            return Unusable(f"cannot be read from the file that {variable} names: it is not UTF-8")
        secret = secret.removesuffix("\n").removesuffix("\r")
        return secret or Unusable(f"is missing: the file that {variable} names is empty")


def is_secret(field: FieldInfo) -> bool:
    """Return whether a setting is a secret."""
    return SecretStr in (field.annotation, *get_args(field.annotation))
