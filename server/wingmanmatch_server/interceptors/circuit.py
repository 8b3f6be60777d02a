"""Refuses a call whose dependency is known to be unavailable, before any work is done."""

from collections.abc import Mapping
from typing import Any, Protocol

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.policy import Method


class Breaker(Protocol):
    """The circuit breaker of one dependency."""

    def open_for(self) -> float:
        """Return the seconds until a call may pass; 0 if one may now."""

    def refusal(self) -> errors.Unavailable:
        """Return the error of a call that may not pass now."""


class Circuit:
    """Refuses with UNAVAILABLE while a breaker that the method's proto requires is open."""

    def __init__(self, breakers: Mapping[int, Breaker]) -> None:
        """`breakers` by `wingmanmatch.options.v1.Dependency`; a dependency without one is never refused."""
        self._breakers = breakers

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        required = [self._breakers[name] for name in method.policy.requires if name in self._breakers]
        if not required:
            return proceed

        async def guard(request: Any, call: Call) -> Any:
            for breaker in required:
                if breaker.open_for() > 0:
                    raise breaker.refusal()
            return await proceed(request, call)

        return guard
