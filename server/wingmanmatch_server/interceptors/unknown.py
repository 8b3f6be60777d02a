"""Answers calls of methods that do not exist, which gRPC would answer without details."""

from typing import Any

import grpc

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.interceptors.errors import refuse


class Unknown(grpc.GenericRpcHandler):
    """Ends every call with UNIMPLEMENTED, reason NOT_IMPLEMENTED, on its headers alone. Must be the last handler."""

    def __init__(self) -> None:
        self._handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_refuse)

    def service(self, _handler_call_details: grpc.HandlerCallDetails) -> Any:
        """See `grpc.GenericRpcHandler.service`."""
        return self._handler


async def _refuse(_requests: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
    # The name may be anything, and is not repeated.
    await refuse(Call(context), errors.Unimplemented("NOT_IMPLEMENTED", "the server has no such method"))
