"""A person's sessions, for the person to keep."""

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.json_format import MessageToDict

from wingmanmatch_server.session.service import message_of
from wingmanmatch_server.session.store import SessionStore

PAGE_SIZE = 20


async def export_sessions(store: SessionStore, user_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yield a person's live sessions as records, without their tokens, which nobody knows any more."""
    after: str | None = None
    while True:
        page = await store.list_of_user(user_id, page_size=PAGE_SIZE, after=after)
        for session in page.sessions:
            yield MessageToDict(message_of(session), preserving_proto_field_name=True)
        after = page.next_after
        if after is None:
            return
