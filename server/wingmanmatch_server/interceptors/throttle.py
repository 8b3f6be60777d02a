"""Charges each call to the rate limit that its proto names."""

from functools import partial
from typing import Any, Protocol

from wingmanmatch_server.interceptors.chain import LOCAL, Admission, Call, Proceed
from wingmanmatch_server.interceptors.peer import PeerAddress
from wingmanmatch_server.interceptors.policy import Method

LONGEST_USER = 64  # requests are charged before they are validated, so a user may be named by anything


class Limiter(Protocol):
    """Keeps the buckets."""

    async def spend(self, policy: str, subject: str, caller: str) -> None:
        """Take one token of `subject`'s bucket when `caller` calls. Raises errors.RateLimited if there is none."""


class FloodBound(Protocol):
    """Bounds calls that are looked at before they are charged, without waiting for anything."""

    def spend(self, subject: str) -> None:
        """Count one call. Raises errors.RateLimited if there are too many."""


class Throttle:
    """Spends one token a call: the acting user's, else the caller's, else that of the address the call comes from.

    Where a method is `admitted_by_handler` the token is spent when the handler admits the call. Before, only the flood
    bound holds, for each caller and user.
    """

    def __init__(self, limiter: Limiter | None, peer_of: PeerAddress, flood_bound: FloodBound | None = None) -> None:
        """Without a limiter nothing is limited."""
        self._limiter = limiter
        self._peer_of = peer_of
        self._flood_bound = flood_bound

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """See `Interceptor.bind`."""
        policy, user_of = method.policy.rate_limit, method.user_of or (lambda _request: "")
        limiter, peer_of = self._limiter, self._peer_of
        if limiter is None or not policy:
            return proceed
        admitted_by_handler = method.policy.admitted_by_handler

        async def throttle(request: Any, call: Call) -> Any:
            # One user has one bucket, however the id is written.
            subject = user_of(request).lower()
            if not 0 < len(subject) <= LONGEST_USER:
                # Without credentials every caller is LOCAL, which tells nobody apart.
                subject = call.caller.name if call.caller is not LOCAL else peer_of(call.context)
            if admitted_by_handler:
                self._defer(call, subject, partial(limiter.spend, policy, subject, call.caller.name))
            else:
                await limiter.spend(policy, subject, call.caller.name)
            return await proceed(request, call)

        return throttle

    def _defer(self, call: Call, subject: str, charge: Admission) -> None:
        if self._flood_bound is not None:
            self._flood_bound.spend(f"{call.caller.name}:{subject}")
        call.defer(charge)
