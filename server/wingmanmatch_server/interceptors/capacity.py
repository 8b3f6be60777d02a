"""Refuses calls beyond what the process can hold, before they cost anything.

gRPC's own limit counts streams on which no request has come yet, and health checks: a client that sends headers alone
would use it up, and make the server look broken. Here a call takes its place when it is known and read, and health
takes none.
"""

from collections.abc import Callable
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.policy import Method

RETRY_AFTER = 1.0  # seconds


class Places:
    """How many calls may be under way, and how many are."""

    def __init__(self, size: int, on_refusal: Callable[[], object]) -> None:
        """`on_refusal` is called for each call that finds no place."""
        self._size = size
        self._on_refusal = on_refusal
        self._taken = 0

    def take(self) -> None:
        """Take a place. Raises errors.ResourceExhausted OVERLOADED if none is free."""
        if self._taken >= self._size:
            self._on_refusal()
            raise _overloaded()
        self._taken += 1

    def leave(self) -> None:
        """Give a place back."""
        self._taken -= 1


class Capacity:
    """Admits so many calls at a time, and beside them so many streams that stay open by design.

    The rest is RESOURCE_EXHAUSTED. Not UNAVAILABLE: to a load balancer that looks like a broken server, and with one
    taken out the others would have still more to do.
    """

    def __init__(self, max_calls: int, max_streams: int, on_refusal: Callable[[], object] = lambda: None) -> None:
        """`on_refusal` is told of each call that found no place."""
        self._calls = Places(max_calls, on_refusal)
        self._streams = Places(max_streams, on_refusal)
        # Of calls that their handlers have not admitted yet: they last for milliseconds, or need no place.
        self._unadmitted = Places(max_calls, on_refusal)

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        places = self._streams if method.default_deadline is None else self._calls
        if method.policy.admitted_by_handler:
            return self._bind_deferred(places, proceed)

        async def admit(request: Any, call: Call) -> Any:
            places.take()
            try:
                return await proceed(request, call)
            finally:
                places.leave()

        return admit

    def _bind_deferred(self, places: Places, proceed: Proceed) -> Proceed:
        unadmitted = self._unadmitted

        async def admit_later(request: Any, call: Call) -> Any:
            held = unadmitted

            async def admit() -> None:
                nonlocal held
                places.take()
                held.leave()
                held = places

            held.take()
            call.defer(admit)
            try:
                return await proceed(request, call)
            finally:
                held.leave()

        return admit_later


def _overloaded() -> errors.ResourceExhausted:
    message = "the server has as many calls under way as it takes"
    return errors.ResourceExhausted("OVERLOADED", message, retry_after=RETRY_AFTER)
