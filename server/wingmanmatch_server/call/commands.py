"""`wingmanmatch call`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from wingmanmatch_server.call.calling import Server

GRPCURL_EXIT = 64  # grpcurl exits with this plus the number of the code, and so does this command
USAGE_EXIT = 2

Symbol = Annotated[
    str,
    typer.Argument(help="The method, such as GetProfile or matching.v1.MatchingService/GetProfile; list; describe."),
]
Name = Annotated[str | None, typer.Argument(help="What to list or describe.")]
Data = Annotated[
    str, typer.Option("-d", "--data", help="The request as JSON, more than one for a stream; @ reads stdin.")
]
Target = Annotated[str, typer.Option(help="The server, HOST:PORT.", envvar="GRPC_LISTEN")]
ApiKey = Annotated[str | None, typer.Option(help="The key to call with.", envvar="WINGMANMATCH_API_KEY")]
Header = Annotated[list[str] | None, typer.Option("-H", "--header", help="Also send this, NAME: VALUE.")]
UseTls = Annotated[
    bool | None, typer.Option("--tls/--plaintext", help="Whether to use TLS; if neither, for other machines only.")
]
CaCert = Annotated[Path | None, typer.Option("--cacert", help="The authority of the server's certificate (PEM).")]
Cert = Annotated[Path | None, typer.Option(help="The certificate to show (PEM), with --key.")]
Key = Annotated[Path | None, typer.Option(help="The key of --cert (PEM).")]
MaxTime = Annotated[float | None, typer.Option(min=0.001, help="Seconds that the call may take.")]
Defaults = Annotated[bool, typer.Option("--emit-defaults", help="Print fields that have their default too.")]


def call(
    symbol: Symbol,
    name: Name = None,
    *,
    data: Data = "",
    target: Target = "127.0.0.1:50051",
    api_key: ApiKey = None,
    header: Header = None,
    tls: UseTls = None,
    cacert: CaCert = None,
    cert: Cert = None,
    key: Key = None,
    max_time: MaxTime = None,
    emit_defaults: Defaults = False,
) -> None:
    """Call a method and print the answer as JSON; a stream's answers one a line.

    Exits with 64 plus the number of the code where the call fails, as grpcurl does.
    """
    from wingmanmatch_client.connection import Tls  # noqa: PLC0415
    from wingmanmatch_server.call.calling import Server  # noqa: PLC0415
    from wingmanmatch_server.call.messages import DataInvalid  # noqa: PLC0415
    from wingmanmatch_server.call.methods import NotOne  # noqa: PLC0415

    try:
        if symbol in {"list", "describe"}:
            _tell(symbol, name)
            return
        files = Tls(cacert, cert, key) if cacert or cert or key else None
        server = Server(target, files or tls, api_key, header or ())
        _call(server, symbol, sys.stdin.read() if data == "@" else data, max_time, defaults=emit_defaults)
    except (NotOne, DataInvalid, OSError) as error:
        _fail(str(error), USAGE_EXIT)


def _tell(verb: str, name: str | None) -> None:
    from wingmanmatch_server.call import methods  # noqa: PLC0415
    from wingmanmatch_server.call.describe import described  # noqa: PLC0415

    if verb == "describe":
        things = [methods.find_described(name)] if name else methods.services()
        typer.echo("\n\n".join(map(described, things)))
    elif name:
        typer.echo("\n".join(map(methods.path_of, methods.find_service(name).methods)))
    else:
        typer.echo("\n".join(str(service.full_name) for service in methods.services()))


def _call(server: "Server", symbol: str, data: str, timeout: float | None, *, defaults: bool) -> None:
    from wingmanmatch_client.errors import WingmanMatchError  # noqa: PLC0415
    from wingmanmatch_server.call.calling import call as answers_of  # noqa: PLC0415
    from wingmanmatch_server.call.calling import told  # noqa: PLC0415
    from wingmanmatch_server.call.messages import requests_of, text_of  # noqa: PLC0415
    from wingmanmatch_server.call.methods import find_method  # noqa: PLC0415

    method = find_method(symbol)
    try:
        for answer in answers_of(server, method, requests_of(method, data), timeout):
            print(text_of(answer, one_line=method.server_streaming, defaults=defaults), flush=True)  # noqa: T201
    except WingmanMatchError as error:
        _fail(told(error), GRPCURL_EXIT + int(error.code.value[0]))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(text: str, code: int) -> NoReturn:
    typer.echo(text, err=True)
    sys.exit(code)
