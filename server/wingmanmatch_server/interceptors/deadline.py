"""Tells all that work for a call until when, and ends one whose client set no deadline."""

import asyncio
import math
import time
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.policy import Method
from wingmanmatch_server.resilience.deadline import set_deadline


class Deadline:
    """Gives a call without a deadline its method's default, and none more than `maximum` seconds.

    A shorter deadline that the client set is kept by gRPC itself. Streams that stay open by design have none of ours.
    """

    def __init__(self, maximum: float = math.inf) -> None:
        self._maximum = maximum

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        default, maximum = method.default_deadline, self._maximum
        if default is None:
            return proceed

        async def limit(request: Any, call: Call) -> Any:
            remaining = call.context.time_remaining()
            seconds = min(maximum, default if remaining is None else remaining)
            set_deadline(time.monotonic() + seconds)
            if seconds == remaining:
                return await proceed(request, call)
            try:
                async with asyncio.timeout(seconds) as scope:
                    return await proceed(request, call)
            except TimeoutError:
                if not scope.expired():
                    raise
            raise errors.DeadlineExceeded("DEADLINE_EXCEEDED", f"the call took longer than {seconds:g} s")

        return limit
