"""The `wingmanmatch` command.

What a command needs is imported when it runs: the engines boot while the server's modules load.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from wingmanmatch_server import __version__
from wingmanmatch_server.drivers.embedded import EmbeddedEngines, EngineError
from wingmanmatch_server.settings import Settings, SettingsError, load_settings

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Run WingmanMatch.")


def main() -> None:
    """Run the command line."""
    app()


@app.callback()
def _root() -> None:
    """Keep `wingmanmatch serve` a sub-command even while there is no other."""


@app.command()
def serve() -> None:
    """Start the server, with its own PostgreSQL and Valkey unless DATABASE_URL and REDIS_URL name others."""
    started = time.monotonic()
    settings = _settings()
    with _engines(settings) as engines:
        from wingmanmatch_server.running import run  # noqa: PLC0415 - loads while the engines boot

        run(settings, engines, started)


@app.command()
def demo(
    target: Annotated[str, typer.Option(help="The server, HOST:PORT.", envvar="GRPC_LISTEN")] = "127.0.0.1:50051",
    data_dir: Annotated[Path, typer.Option(help="Where the server's outbox lies.", envvar="DATA_DIR")] = Path(
        ".wingmanmatch"
    ),
) -> None:
    """Play a whole journey against a running server and print it: candidates, invitation, acceptance, mails."""
    from wingmanmatch_server.demo import DemoFailed, play  # noqa: PLC0415

    try:
        asyncio.run(play(target, data_dir / "outbox", typer.echo))
    except DemoFailed as error:
        _fail(str(error))


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        _fail(*error.problems)


@contextmanager
def _engines(settings: Settings) -> Iterator[EmbeddedEngines]:
    """Start the engines that the settings do not replace; end with a sentence where that is not possible."""
    engines = EmbeddedEngines(
        settings.data_dir, postgres=settings.database_url is None, valkey=settings.redis_url is None
    )
    try:
        engines.start()
        yield engines
    except EngineError as error:
        _fail(str(error))
    finally:
        engines.stop()


def _fail(*sentences: str) -> NoReturn:
    for sentence in sentences:
        typer.echo(f"wingmanmatch {__version__}: {sentence}", err=True)
    sys.exit(1)
