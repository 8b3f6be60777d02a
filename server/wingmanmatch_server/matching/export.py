"""Everything that is stored about a person, record by record."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from wingmanmatch_server.matching.store import MatchingStore

Json = dict[str, Any]
# Yields the records of a kind that a place outside the database holds of a person, the oldest first.
Source = Callable[[str], AsyncIterator[Json]]

# What the database holds, in the order of ExportRecordKind.
KINDS = (
    "PROFILE",
    "MATCH",
    "BLOCK",
    "MEETUP",
    "USER_CHALLENGE",
    "SHARE_LINK",
    "NOTIFICATION",
    "NOTIFICATION_PREFERENCES",
)


class Export:
    """The records of the database, and those of `sources`."""

    def __init__(self, store: MatchingStore, sources: Mapping[str, Source]) -> None:
        """`sources` by kind, a name of ExportRecordKind without its prefix."""
        self._store = store
        self._sources = sources

    async def records(self, user_id: str) -> AsyncIterator[tuple[str, Json]]:
        """Yield (kind, record) kind by kind, holding one page at a time. Raises errors.NotFound for nobody."""
        for kind in KINDS:
            after: Json | None = None
            while True:
                page = await self._store.list_export_records(user_id, kind, after=after)
                for record in page.records:
                    yield kind, record
                after = page.next_after
                if after is None:
                    break
        for kind, source in self._sources.items():
            async for record in source(user_id):
                yield kind, record
