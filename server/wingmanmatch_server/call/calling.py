"""One call, and how its error is told."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from wingmanmatch_client.connection import Tls, credentials_for, metadata_for
from wingmanmatch_client.errors import WingmanMatchError, error_of
from wingmanmatch_server.call.methods import path_of


@dataclass(frozen=True, slots=True)
class Server:
    """Where to call, and as whom. `headers` are of the form `name: value`, and win over the key."""

    target: str
    tls: Tls | bool | None = None
    api_key: str | None = None
    headers: Sequence[str] = ()

    def metadata(self) -> list[tuple[str, str]]:
        """Return what is sent with the call."""
        given = [
            (name.strip().lower(), value.strip()) for name, _, value in (each.partition(":") for each in self.headers)
        ]
        names = {name for name, _ in given}
        return given + [(name, value) for name, value in metadata_for(self.api_key) if name not in names]

    def channel(self) -> grpc.Channel:
        """Return a connection that repeats nothing, so that what a server answers is seen. Raises OSError."""
        credentials = credentials_for(self.target, tls=self.tls)
        options = [("grpc.enable_retries", 0)]
        if credentials is None:
            return grpc.insecure_channel(self.target, options)
        return grpc.secure_channel(self.target, credentials, options)


def call(
    server: Server, method: MethodDescriptor, requests: Sequence[Message], timeout: float | None
) -> Iterator[Message]:
    """Yield what the method answers. Raises WingmanMatchError, and OSError for a certificate that cannot be read."""
    response = GetMessageClass(method.output_type)
    with server.channel() as channel:
        # On the wire every kind of RPC is a stream, of one message where the proto says so.
        stream = channel.stream_stream(
            f"/{path_of(method)}", request_serializer=_serialized, response_deserializer=response.FromString
        )
        try:
            yield from stream(iter(requests), metadata=tuple(server.metadata()), timeout=timeout)
        except grpc.RpcError as error:
            raise error_of(error) from error


def told(error: WingmanMatchError) -> str:
    """Return an error for a person to read: code and reason, the text, and what the details say."""
    lines = [f"{error.code.name} {error.reason}".rstrip(), f"  {error.message}"]
    lines += [f"  {name}: {value}" for name, value in sorted(error.metadata.items())]
    lines += [f"  field {each.field}: {each.description} ({each.rule})" for each in error.violations]
    if error.retry_after is not None:
        lines.append(f"  retry after {error.retry_after:.1f} s")
    return "\n".join(lines)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
