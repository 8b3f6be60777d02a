"""The modules of the Python client that say what the API is. For generate_client.py."""

from collections.abc import Iterator

from client_arguments import (
    Argument,
    Comments,
    arguments_of,
    docstring,
    message,
    module_of,
    reference,
    signature,
    snake,
    timeout_of,
)
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

HEAD = '"""{0}\n\nWritten by protos/generate_client.py from the protos: change those instead.\n"""\n\n'
SERVICES_IMPORTS = """
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from wingmanmatch_client import rpcs
from wingmanmatch_client.aio.calls import Calls
from wingmanmatch_client.rpc import duration, struct, timestamp
"""

WATCHING = (
    Argument(
        "heartbeats", "bool", "False", "", "Whether messages without an event are yielded too, the first at once."
    ),
    Argument(
        "patience", "float | None", "None", "", "Seconds of failures after which the last is raised. None: never."
    ),
)
RESUMED = (
    "A stream that breaks is opened again where it was: every event comes once. Errors that will not pass are raised."
)


def imports_of(methods: list[MethodDescriptor]) -> str:
    """Return the imports of all messages and enums that the methods' signatures name."""
    files = {kind.file.name for method in methods for kind in (method.input_type, method.output_type)}
    for field in (field for method in methods for field in (*method.input_type.fields, *method.output_type.fields)):
        kind = field.message_type or field.enum_type
        if kind is not None and kind.file.name.startswith("wingmanmatch/"):
            files.add(kind.file.name)
    parts = [module_of(file).rpartition(".") for file in sorted(files)]
    return "".join(f"from {package} import {module}\n" for package, _, module in parts)


def rpcs(found: list[ServiceDescriptor]) -> str:
    """Return the text of rpcs.py."""
    methods = [method for service in found for method in service.methods]
    lines = [HEAD.format("Every RPC of the API."), imports_of(methods)]
    lines += ["from typing import Any\nfrom wingmanmatch_client.rpc import Rpc\n\n"]
    for method in methods:
        request, response = reference(method.input_type), reference(method.output_type)
        service = method.containing_service.name
        lines.append(f'{constant(method)} = Rpc("{service}", "{method.name}", {request}, {response})\n')
    names = ", ".join(constant(method) for method in methods)
    return "".join([*lines, f"\nRPCS: tuple[Rpc[Any, Any], ...] = ({names},)\n"])


def constant(method: MethodDescriptor) -> str:
    """Return the name of an RPC in rpcs.py."""
    return f"{attribute(method.containing_service)}_{snake(method.name)}".upper()


def attribute(service: ServiceDescriptor) -> str:
    """Return the name of a service on a client."""
    return snake(service.name.removesuffix("Service"))


def service_faces(found: list[ServiceDescriptor], comments: Comments) -> str:
    """Return the text of aio/services.py."""
    methods = [method for service in found for method in service.methods]
    head = HEAD.format("Every service of the API, a method for each RPC.")
    classes = [service_class(service, comments) for service in found]
    return "".join([head, SERVICES_IMPORTS, imports_of(methods), *classes, all_services(found)])


def service_class(service: ServiceDescriptor, comments: Comments) -> str:
    """Return the class of one service."""
    lines = [
        f"\n\nclass {service.name}:\n",
        docstring(comments.of_service(service), 1),
        "\n    def __init__(self, calls: Calls) -> None:\n        self._calls = calls\n",
    ]
    for method in service.methods:
        lines += faces_of(method, comments)
    return "".join(lines)


def all_services(found: list[ServiceDescriptor]) -> str:
    """Return the class that has all services."""
    attributes = "".join(f"        self.{attribute(service)} = {service.name}(calls)\n" for service in found)
    head = '\n\nclass Services:\n    """Every service, on one connection."""\n\n'
    return f"{head}    def __init__(self, calls: Calls) -> None:\n{attributes}"


def faces_of(method: MethodDescriptor, comments: Comments) -> Iterator[str]:
    """Yield the methods that call one RPC."""
    response = reference(method.output_type)
    if method.client_streaming:
        yield exchanging(method, comments, response)
    elif method.server_streaming and "resume_token" in method.output_type.fields_by_name:
        yield watching(method, comments, response)
    elif method.server_streaming:
        yield calling(method, comments, "def", f"AsyncGenerator[{response}, None]", "self._calls.stream")
    else:
        yield calling(method, comments, "async def", response, "await self._calls.unary")
    if "next_page_token" in method.output_type.fields_by_name:
        yield iterating(method, comments)


def calling(method: MethodDescriptor, comments: Comments, define: str, returns: str, call: str) -> str:
    """Return a method that makes one call."""
    arguments = [*arguments_of(method, comments), timeout_of(method)]
    head = f"{define} {snake(method.name)}({signature(arguments)}) -> {returns}"
    body = f"{call}(rpcs.{constant(method)}, {message(method, arguments)}, timeout)"
    return face(head, docstring(comments.of_method(method), 2, arguments), body)


def iterating(method: MethodDescriptor, comments: Comments) -> str:
    """Return a method that yields what a List RPC has on all its pages."""
    arguments = [each for each in arguments_of(method, comments) if each.name != "page_token"]
    arguments.append(timeout_of(method, "each page"))
    (items,) = [field for field in method.output_type.fields if field.is_repeated]
    name = snake(method.name).replace("list_", "iter_", 1)
    head = f"def {name}({signature(arguments)}) -> AsyncGenerator[{reference(items.message_type)}, None]"
    summary = comments.of_method(method).partition("\n\n")[0]
    text = f"{summary}\n\nAs {snake(method.name)}, over all pages; each is asked for when it is needed."
    passed = f"rpcs.{constant(method)}, {message(method, arguments)}, lambda page: page.{items.name}, timeout"
    return face(head, docstring(text, 2, arguments), f"self._calls.items({passed})")


def watching(method: MethodDescriptor, comments: Comments, response: str) -> str:
    """Return a method that yields from a stream which is opened again where it broke."""
    arguments = [*arguments_of(method, comments), *WATCHING]
    head = f"def {snake(method.name)}({signature(arguments)}) -> AsyncGenerator[{response}, None]"
    text = docstring(f"{comments.of_method(method)}\n\n{RESUMED}", 2, arguments)
    passed = f"rpcs.{constant(method)}, {message(method, arguments)}, heartbeats=heartbeats, patience=patience"
    return face(head, text, f"self._calls.watch({passed})")


def exchanging(method: MethodDescriptor, comments: Comments, response: str) -> str:
    """Return a method that sends a stream of requests."""
    request = reference(method.input_type)
    kind = f"AsyncIterable[{request}] | Iterable[{request}]"
    arguments = [Argument("requests", kind, None, "", "What is sent, for as long as it comes."), timeout_of(method)]
    head = f"def {snake(method.name)}({signature(arguments)}) -> AsyncGenerator[{response}, None]"
    body = f"self._calls.exchange(rpcs.{constant(method)}, requests, timeout)"
    return face(head, docstring(comments.of_method(method), 2, arguments), body)


def face(head: str, text: str, body: str) -> str:
    """Return a method of a service's class."""
    return f"\n    {head}:\n{text}        return {body}\n"
