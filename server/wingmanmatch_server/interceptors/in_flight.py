"""Knows how many calls are under way, to their very end."""

import asyncio
from typing import Any

from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.policy import Method


class InFlight:
    """Counts calls until their handlers have returned.

    A stopping gRPC server does not: it is done once statuses are sent, while a cancelled handler may still clean up.
    """

    def __init__(self) -> None:
        self.count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Return when no call is under way."""
        await self._idle.wait()

    def bind(self, _method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""

        async def count(request: Any, call: Call) -> Any:
            self.count += 1
            self._idle.clear()
            try:
                return await proceed(request, call)
            finally:
                self.count -= 1
                if not self.count:
                    self._idle.set()

        return count
