"""How commands end that cannot go on: a sentence for each problem on standard error, and status 1."""

import sys
from typing import NoReturn

import typer

from wingmanmatch_server import __version__
from wingmanmatch_server.settings import Settings, SettingsError, load_settings


def fail(*sentences: str) -> NoReturn:
    """Print the sentences and end the process with status 1."""
    for sentence in sentences:
        typer.echo(f"wingmanmatch {__version__}: {sentence}", err=True)
    sys.exit(1)


def settings_or_exit() -> Settings:
    """Return the settings, or end the process with what is wrong with them."""
    try:
        return load_settings()
    except SettingsError as error:
        fail(*error.problems)


def database_url_or_exit(settings: Settings) -> str | None:
    """Return DATABASE_URL with the password of its file, None without; end the process if the file cannot be read."""
    from wingmanmatch_server.drivers.postgres_address import with_password  # noqa: PLC0415 - loads asyncpg

    if settings.database_url is None:
        return None
    try:
        return with_password(settings.database_url.get_secret_value(), settings.database_password_file)
    except OSError as error:
        fail(f"DATABASE_PASSWORD_FILE cannot be read: {error.strerror}")
