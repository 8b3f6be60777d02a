"""Says who calls, and refuses who may not."""

from collections.abc import Callable
from typing import Any

import grpc

from wingmanmatch_server.interceptors.chain import Call, Caller, Proceed
from wingmanmatch_server.interceptors.policy import Method

# Returns who calls `method`. Raises errors.Unauthenticated or errors.PermissionDenied.
Authenticate = Callable[[Method, "grpc.aio.ServicerContext[Any, Any]"], Caller]


class Identity:
    """Asks `authenticate` about every call; without it, where no credential is configured, everyone is LOCAL.

    `serving.py` listens on loopback only in that case.
    """

    def __init__(self, authenticate: Authenticate | None) -> None:
        self._authenticate = authenticate

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        authenticate = self._authenticate
        if authenticate is None:
            return proceed

        async def identify(request: Any, call: Call) -> Any:
            call.caller = authenticate(method, call.context)
            return await proceed(request, call)

        return identify
