"""Authenticates and authorizes each call, and each stream for as long as it is open."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import ADMIN, ANONYMOUS, Call, Caller, Proceed
from wingmanmatch_server.interceptors.door import Metadata
from wingmanmatch_server.interceptors.open_streams import OpenStreams
from wingmanmatch_server.interceptors.peer import PeerAddress
from wingmanmatch_server.interceptors.policy import Method

ALL_AREAS = "*"


class Authenticator(Protocol):
    """Knows callers by their credentials."""

    def recognizes(self, metadata: Metadata) -> bool:
        """Tell whether the call's headers carry a good credential; False where that takes waiting to find out."""

    async def identify(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Caller | None:
        """Return the caller, None if the call carries no credential. Raises errors.Unauthenticated for a bad one."""

    def trusts(self, caller: Caller) -> bool:
        """Tell whether the credential by which a caller was identified is still good."""


class Guesses(Protocol):
    """Keeps count of failed attempts by peer address."""

    async def spend(self, policy: str, subject: str, caller: str) -> None:
        """Count one. Raises errors.ResourceExhausted if there were too many."""


class Identity:
    """Asks who calls and whether the method's policy lets them.

    Without an authenticator, where no credential is configured, everyone is LOCAL and may do everything: `settings.py`
    allows loopback addresses only in that case. A failed attempt is charged to the peer's bucket of `auth_endpoint`.
    A stream ends when the credential that opened it does.
    """

    def __init__(
        self,
        authenticator: Authenticator | None,
        guesses: Guesses | None,
        peer_of: PeerAddress,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` returns seconds since the epoch."""
        self._authenticator = authenticator
        self._streams = OpenStreams(authenticator.trusts, now) if authenticator else None
        self._guesses = guesses
        self._peer_of = peer_of

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        authenticator = self._authenticator
        if authenticator is None:
            return proceed
        authorize = AUTHORIZE[method.policy.access]
        serve = self._as_stream(proceed) if method.server_streaming or method.client_streaming else proceed

        async def identify(request: Any, call: Call) -> Any:
            try:
                caller = await authenticator.identify(call.context)
                if caller is not None:
                    call.caller = caller
                authorize(method, caller, request)
            except errors.Unauthenticated:
                await self._charge(call)
                raise
            if caller is None:
                call.caller = ANONYMOUS
            return await serve(request, call)

        return identify

    def recheck_streams(self) -> None:
        """End the streams whose credentials are no longer good; called when credentials may have changed."""
        if self._streams is not None:
            self._streams.recheck()

    def recognizes(self, method: Method, metadata: Metadata) -> bool:
        """See `Doorkeeper.recognizes`."""
        if self._authenticator is None or method.policy.access == options_pb2.ACCESS_PUBLIC:
            return True
        return self._authenticator.recognizes(metadata)

    async def admits(self, method: Method, context: "grpc.aio.ServicerContext[Any, Any]") -> bool:
        """See `Doorkeeper.admits`. Who may do what is told once the request is there."""
        if self._authenticator is None or method.policy.access == options_pb2.ACCESS_PUBLIC:
            return True
        try:
            return await self._authenticator.identify(context) is not None
        except errors.Unauthenticated:
            return False

    def _as_stream(self, proceed: Proceed) -> Proceed:
        streams = self._streams
        assert streams is not None

        async def serve(request: Any, call: Call) -> Any:
            return await streams.run(proceed, request, call)

        return serve

    async def _charge(self, call: Call) -> None:
        if self._guesses is not None:
            await self._guesses.spend("auth_endpoint", self._peer_of(call.context), call.caller.name)


def _anyone(_method: Method, _caller: Caller | None, _request: Any) -> None:
    """Let every caller pass."""


def _user_or_back_end(method: Method, caller: Caller | None, request: Any) -> None:
    if caller is None or caller.user_id is None:
        _back_end(method, caller, request)
    elif method.user_of is not None and method.user_of(request).lower() != caller.user_id:
        raise _denied(f"a user's credential acts for that user only; {method.policy.user_field} names another")


def _back_end(method: Method, caller: Caller | None, _request: Any) -> None:
    if caller is None:
        raise errors.Unauthenticated("CREDENTIAL_INVALID", "the call carries no valid credential")
    if not caller.scopes & {ALL_AREAS, method.area}:
        raise _denied(f"the credential does not have the scope {method.area}")


def _administrator(method: Method, caller: Caller | None, request: Any) -> None:
    _back_end(method, caller, request)
    if caller is not None and ADMIN not in caller.scopes:
        raise _denied(f"the credential does not have the scope {ADMIN}")


def _denied(message: str) -> errors.PermissionDenied:
    return errors.PermissionDenied("ACCESS_DENIED", message)


AUTHORIZE: dict[int, Callable[[Method, Caller | None, Any], None]] = {
    options_pb2.ACCESS_PUBLIC: _anyone,
    options_pb2.ACCESS_USER: _user_or_back_end,
    options_pb2.ACCESS_BACKEND: _back_end,
    options_pb2.ACCESS_ADMIN: _administrator,
}
