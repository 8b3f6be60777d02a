"""Charges each call to the rate limit that its proto names."""

from typing import Any, Protocol

from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.policy import Method


class Limiter(Protocol):
    """Keeps the buckets."""

    async def spend(self, policy: str, subject: str) -> None:
        """Take one token of `subject`'s bucket. Raises errors.ResourceExhausted if there is none."""


class Throttle:
    """Spends one token a call: the acting user's, or the caller's where the request names no user."""

    def __init__(self, limiter: Limiter | None) -> None:
        """Without a limiter nothing is limited."""
        self._limiter = limiter

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        policy, user_of, limiter = method.policy.rate_limit, method.user_of, self._limiter
        if limiter is None or not policy:
            return proceed

        async def throttle(request: Any, call: Call) -> Any:
            user = user_of(request) if user_of else ""
            await limiter.spend(policy, user or call.caller.name)
            return await proceed(request, call)

        return throttle
