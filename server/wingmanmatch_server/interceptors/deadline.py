"""Ends a call whose client set no deadline."""

import asyncio
from typing import Any

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.policy import Method


class Deadline:
    """Gives a call without a deadline its method's default. A deadline that the client set is kept by gRPC itself."""

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        seconds = method.default_deadline
        if seconds is None:
            return proceed

        async def limit(request: Any, call: Call) -> Any:
            if call.context.time_remaining() is not None:
                return await proceed(request, call)
            try:
                async with asyncio.timeout(seconds) as scope:
                    return await proceed(request, call)
            except TimeoutError:
                if not scope.expired():
                    raise
            raise errors.DeadlineExceeded("DEADLINE_EXCEEDED", f"the call took longer than {seconds:g} s")

        return limit
