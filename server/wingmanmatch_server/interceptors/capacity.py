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

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0


class Capacity:
    """Admits so many calls at a time, and beside them so many streams that stay open by design.

    The rest is RESOURCE_EXHAUSTED. Not UNAVAILABLE: to a load balancer that looks like a broken server, and with one
    taken out the others would have still more to do.
    """

    def __init__(self, max_calls: int, max_streams: int, on_refusal: Callable[[], object] = lambda: None) -> None:
        """`on_refusal` is told of each call that found no place."""
        self._calls = Places(max_calls)
        self._streams = Places(max_streams)
        self._on_refusal = on_refusal

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        places = self._streams if method.default_deadline is None else self._calls

        async def admit(request: Any, call: Call) -> Any:
            if places.taken >= places.size:
                self._on_refusal()
                raise _overloaded()
            places.taken += 1
            try:
                return await proceed(request, call)
            finally:
                places.taken -= 1

        return admit


def _overloaded() -> errors.ResourceExhausted:
    message = "the server has as many calls under way as it takes"
    return errors.ResourceExhausted("OVERLOADED", message, retry_after=RETRY_AFTER)
