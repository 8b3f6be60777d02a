"""`wingmanmatch outbox list | show | open`."""

import asyncio
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(no_args_is_help=True, help="Look at mails: those in the outbox folder, or a server's rows.")

Folder = Annotated[Path, typer.Option(help="The data folder; mails lie in its outbox/.", envvar="DATA_DIR")]
Beginning = Annotated[str | None, typer.Argument(help="The beginning of the mail's id; without it, the newest mail.")]
Server = Annotated[
    str | None, typer.Option(help="Ask the server at HOST:PORT, without TLS, what became of its mails instead.")
]
ApiKey = Annotated[str | None, typer.Option(help="The key to ask a server with.", envvar="WINGMANMATCH_API_KEY")]
DATA_DIR = Path(".wingmanmatch")


@app.command("list")
def list_mails(
    data_dir: Folder = DATA_DIR,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 20,
    server: Server = None,
    state: Annotated[list[str] | None, typer.Option(help="Only rows in this state, such as DEAD or REVIEW.")] = None,
    api_key: ApiKey = None,
) -> None:
    """List mails, newest first."""
    from wingmanmatch_server.outbox import folder, rows, tables  # noqa: PLC0415

    if server is None:
        if state:
            _fail("files have no state: --state needs --server")
        mails = folder.filed_mails(data_dir / "outbox")
        tables.show(tables.of_files(mails[:limit], data_dir / "outbox", len(mails)))
        return
    try:
        tables.show(tables.of_rows(asyncio.run(rows.list_rows(server, api_key, state or [], limit))))
    except (rows.AskFailed, rows.StateUnknown) as error:
        _fail(str(error))


@app.command("show")
def show_mail(
    mail: Beginning = None, data_dir: Folder = DATA_DIR, server: Server = None, api_key: ApiKey = None
) -> None:
    """Print a mail's headers and text, or with --server what became of the mail with this whole id."""
    from wingmanmatch_server.outbox import folder, rows, tables  # noqa: PLC0415

    try:
        if server is not None:
            if mail is None:
                _fail("which mail? --server needs its whole id")
            tables.show(tables.of_facts(rows.facts_of(asyncio.run(rows.get_row(server, api_key, mail)))))
            return
        found = folder.find_mail(folder.filed_mails(data_dir / "outbox"), mail)
        tables.show(tables.of_message(found.message()))
    except (folder.NoSuchMail, rows.AskFailed) as error:
        _fail(str(error))


@app.command("open")
def open_mail(
    mail: Beginning = None,
    data_dir: Folder = DATA_DIR,
    path: Annotated[bool, typer.Option("--path", help="Print the page's path, and open nothing.")] = False,  # noqa: FBT002
) -> None:
    """Show a mail in the browser, as its recipient would see it."""
    from wingmanmatch_server.outbox import folder  # noqa: PLC0415

    try:
        page = folder.find_mail(folder.filed_mails(data_dir / "outbox"), mail).page.resolve()
    except folder.NoSuchMail as error:
        _fail(str(error))
    typer.echo(page)
    if not path and not webbrowser.open(page.as_uri()):
        _fail("no browser could be started; the page is at the path above")


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"wingmanmatch outbox: {sentence}", err=True)
    sys.exit(1)
