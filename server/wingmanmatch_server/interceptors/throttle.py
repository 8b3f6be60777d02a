"""Charges each call to the rate limit that its proto names."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from wingmanmatch.options.v1 import options_pb2
from wingmanmatch_server.interceptors.chain import ANONYMOUS, LOCAL, Call, Proceed
from wingmanmatch_server.interceptors.peer import PeerAddress
from wingmanmatch_server.interceptors.policy import Method

USER_ID_LENGTH = 36  # requests are charged before they are validated, so a user may be named by anything


class Limiter(Protocol):
    """Keeps the buckets."""

    async def spend(self, policy: str, subject: str, caller: str) -> None:
        """Take one token of `subject`'s bucket when `caller` calls. Raises errors.RateLimited if there is none."""

    async def spend_as_backend(
        self, backend: str, calls_per_second: int | None, protected: tuple[str, str] | None = None
    ) -> None:
        """Take one token of the backend's own bucket, and one of the `protected` policy and subject: both or none.

        Raises errors.RateLimited if one of them has none.
        """


class FloodBound(Protocol):
    """Bounds calls that are looked at before they are charged, without waiting for anything."""

    def spend(self, subject: str) -> None:
        """Count one call. Raises errors.RateLimited if there are too many."""


class Throttle:
    """Spends one token a call.

    A user's token is charged to that user, a call without a credential to the address it comes from, and a backend to
    its own bucket; where the proto says that a limit is about the user, the user whom the backend names pays as well.
    Where no credential is configured, whoever names a user is taken for that user.

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
        limiter = self._limiter
        if limiter is None or not method.policy.rate_limit:
            return proceed
        charge = self._charge_of(method, limiter)

        async def throttle(request: Any, call: Call) -> Any:
            await charge(request, call)
            return await proceed(request, call)

        async def throttle_when_admitted(request: Any, call: Call) -> Any:
            if self._flood_bound is not None:
                user = call.caller.user_id or _named_user(method, request) or self._peer_of(call.context)
                self._flood_bound.spend(f"{call.caller.name}:{user}")
            call.defer(partial(charge, request, call))
            return await proceed(request, call)

        return throttle_when_admitted if method.policy.admitted_by_handler else throttle

    def _charge_of(self, method: Method, limiter: Limiter) -> Callable[[Any, Call], Awaitable[None]]:
        policy, peer_of = method.policy.rate_limit, self._peer_of
        protects = method.policy.rate_limit_subject == options_pb2.RATE_LIMIT_SUBJECT_USER

        async def charge(request: Any, call: Call) -> None:
            caller = call.caller
            if caller.user_id is not None:
                await limiter.spend(policy, caller.user_id, caller.name)
            elif caller is LOCAL:
                await limiter.spend(policy, _named_user(method, request) or peer_of(call.context), caller.name)
            elif caller is ANONYMOUS:
                await limiter.spend(policy, peer_of(call.context), caller.name)
            else:
                user = _named_user(method, request) if protects else ""
                await limiter.spend_as_backend(caller.name, caller.calls_per_second, (policy, user) if user else None)

        return charge


def _named_user(method: Method, request: Any) -> str:
    """Return the user whom the request names, empty if it names none.

    What cannot be an id, such as an address, names nobody: it might be the subject of another bucket.
    """
    user: str = method.user_of(request).lower() if method.user_of else ""  # one user, however the id is written
    return user if len(user) == USER_ID_LENGTH and ":" not in user else ""
