"""Erases people: in the database at once, and everywhere else after that, as often as it takes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.matching.store import MatchingStore

log = structlog.get_logger(__name__)

# Seconds that a place is waited for, well within the deadline of DeleteProfile: what takes longer is done later.
PATIENCE = 4.0
# Removes what a place outside the database holds of a person; may run any number of times.
Eraser = Callable[[str], Awaitable[object]]


class Erasure:
    """Erases people from the database, and by `erasers` from everywhere else."""

    def __init__(self, store: MatchingStore, erasers: Mapping[str, Eraser]) -> None:
        """`erasers` by the name of what they clean, for the log."""
        self._store = store
        self._erasers = erasers

    async def erase(self, user_id: str, *, request_id: str | None = None) -> None:
        """Erase a person. Raises as `MatchingStore.delete_profile`.

        It has happened once this returns; what could not be cleaned up outside the database is left to `make_good`.
        """
        erasure_id = await self._store.delete_profile(user_id, request_id=request_id)
        if erasure_id is not None:
            await self._clean_up(erasure_id, user_id)

    async def make_good(self) -> None:
        """Clean up after erasures that nobody has cleaned up after yet."""
        for erasure in await self._store.claim_erasures():
            await self._clean_up(erasure.erasure_id, erasure.user_id)

    async def _clean_up(self, erasure_id: str, user_id: str) -> None:
        # At once, so that waiting for a place that does not answer is not waiting for each.
        if all(await asyncio.gather(*(_attempt(name, erase, user_id) for name, erase in self._erasers.items()))):
            await _attempt("finish", self._store.finish_erasure, erasure_id)


async def _attempt(name: str, erase: Eraser, subject: str) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            await erase(subject)
    except TimeoutError:
        log.warning("erasure_unfinished", place=name, reason="DEADLINE_EXCEEDED")
        return False
    except errors.DomainError as error:
        log.warning("erasure_unfinished", place=name, reason=error.reason)
        return False
    except Exception:
        log.exception("erasure_unfinished", place=name)
        return False
    return True
