"""Ends a stream when the credential that opened it ends."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call, Caller, Proceed


@dataclass(eq=False, slots=True)
class _Stream:
    caller: Caller
    scope: asyncio.Timeout
    revoked: bool = False


class OpenStreams:
    """The streams that are open, each until its caller's credential expires or is revoked.

    A unary call is short and takes no part in this.
    """

    def __init__(self, trusts: Callable[[Caller], bool], now: Callable[[], float]) -> None:
        """`trusts` tells whether a caller's credential is still good, `now` returns seconds since the epoch."""
        self._trusts = trusts
        self._now = now
        self._open: set[_Stream] = set()

    async def run(self, proceed: Proceed, request: Any, call: Call) -> Any:
        """Serve a stream. Raises errors.Unauthenticated TOKEN_EXPIRED or CREDENTIAL_INVALID when it has to end."""
        scope = asyncio.timeout(self._remaining(call.caller))
        stream = _Stream(call.caller, scope)
        self._open.add(stream)
        try:
            async with scope:
                return await proceed(request, call)
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._open.discard(stream)
        raise _ended(stream)

    def recheck(self) -> None:
        """End the streams whose credentials were revoked; called when credentials may have changed."""
        due = asyncio.get_running_loop().time()
        for stream in [each for each in self._open if not self._trusts(each.caller)]:
            if not stream.scope.expired():
                stream.revoked = True
                stream.scope.reschedule(due)

    def _remaining(self, caller: Caller) -> float | None:
        return None if caller.expiry is None else max(0.0, caller.expiry - self._now())


def _ended(stream: _Stream) -> errors.Unauthenticated:
    if stream.revoked:
        return errors.Unauthenticated("CREDENTIAL_INVALID", "the credential that opened the stream was revoked")
    return errors.Unauthenticated("TOKEN_EXPIRED", "the token that opened the stream has expired")
