"""What a person may do only so often a day: move far, and page through other people."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import LOCAL, Caller
from wingmanmatch_server.matching.rows import Profile
from wingmanmatch_server.matching.store import RELOCATION, MatchingStore

log = structlog.get_logger(__name__)

CANDIDATE_PAGES = "candidate_pages"

# Takes a policy, a user_id and the caller's name.
Charge = Callable[[str, str, str], Awaitable[None]]


class PersonalLimits:
    """Charges what people do themselves to their buckets. What a backend does for a person is charged to nobody.

    A backend vouches for the places that it sends and for whom it shows the answers to.
    """

    def __init__(self, spend: Charge, give_back: Charge) -> None:
        """`spend` takes a token or raises errors.RateLimited, `give_back` puts one back or raises Unavailable."""
        self._spend = spend
        self._give_back = give_back

    @staticmethod
    def covers(caller: Caller) -> bool:
        """Return whether the caller is a person: by a credential, or by anybody's word where none is asked for."""
        return caller is LOCAL or caller.user_id is not None

    async def spend(self, policy: str, user_id: str, caller: Caller) -> None:
        """Take a token of the person's bucket, if the caller is covered. Raises errors.RateLimited."""
        if self.covers(caller):
            await self._spend(policy, user_id, caller.name)

    async def give_back(self, policy: str, user_id: str, caller: Caller) -> None:
        """Put a token back. While Redis is unavailable the person is a token short until the bucket fills."""
        try:
            await self._give_back(policy, user_id, caller.name)
        except errors.Unavailable as error:
            log.warning("rate_limit_token_not_returned", policy=policy, reason=error.reason)


class Places:
    """Stores profiles, and charges each far move of a place to the person's bucket of `profile_relocation`.

    Exactly the moves that were made are charged: none that was refused, and none that a repeated request finds made.
    Where the database does not say whether it made the move, it is charged.
    """

    def __init__(self, store: MatchingStore, limits: PersonalLimits | None) -> None:
        """Without limits everybody may move at will."""
        self._store = store
        self._limits = limits

    async def upsert_profile(self, profile: Mapping[str, Any], caller: Caller, request_id: str | None) -> Profile:
        """Store a profile as the store does. Also raises errors.RateLimited, and then nothing has changed."""
        limits = self._limits
        if limits is None or not limits.covers(caller):
            return (await self._store.upsert_profile(profile, request_id=request_id)).profile
        try:
            # Only the database knows whether the move is far; nearly none is.
            stored = await self._store.upsert_profile(profile, request_id=request_id, may_relocate=False)
        except errors.ResourceExhausted as refusal:
            if refusal.metadata.get("policy") != RELOCATION:
                raise
            return await self._relocate(profile, caller, request_id, limits)
        return stored.profile

    async def _relocate(
        self, profile: Mapping[str, Any], caller: Caller, request_id: str | None, limits: PersonalLimits
    ) -> Profile:
        user_id = profile["user_id"].lower()
        await limits.spend(RELOCATION, user_id, caller)
        try:
            stored = await self._store.upsert_profile(profile, request_id=request_id)
        except (errors.Unavailable, errors.DeadlineExceeded):
            raise
        except errors.DomainError:
            await limits.give_back(RELOCATION, user_id, caller)
            raise
        if not stored.relocated:
            # The same request, or another one to the same place, came first and was charged.
            await limits.give_back(RELOCATION, user_id, caller)
        return stored.profile
