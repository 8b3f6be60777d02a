"""A person's conversations, for the person to keep."""

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.json_format import MessageToDict

from wingmanmatch_server.coaching.conversation_store import ConversationStore, Damaged
from wingmanmatch_server.coaching.service import message_of


async def export_conversations(store: ConversationStore, user_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yield a person's conversations as records, the one that is forgotten first leading.

    The record of one that is damaged has its id, and `unreadable` in place of the rest.
    """
    for conversation in await store.of_person(user_id):
        if isinstance(conversation, Damaged):
            yield {"id": conversation.id, "user_id": user_id, "unreadable": ["messages", "summary"]}
        else:
            yield MessageToDict(message_of(conversation), preserving_proto_field_name=True)
