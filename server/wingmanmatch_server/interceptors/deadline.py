"""Tells all that work for a call until when, and ends one whose client set no deadline."""

import asyncio
import time
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.policy import Method
from wingmanmatch_server.resilience.deadline import set_deadline


class Deadline:
    """Gives a call without a deadline its method's default. A deadline that the client set is kept by gRPC itself."""

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        seconds = method.default_deadline
        if seconds is None:
            return proceed

        async def limit(request: Any, call: Call) -> Any:
            remaining = call.context.time_remaining()
            set_deadline(time.monotonic() + (seconds if remaining is None else remaining))
            if remaining is not None:
                return await proceed(request, call)
            try:
                async with asyncio.timeout(seconds) as scope:
                    return await proceed(request, call)
            except TimeoutError:
                if not scope.expired():
                    raise
            raise errors.DeadlineExceeded("DEADLINE_EXCEEDED", f"the call took longer than {seconds:g} s")

        return limit
