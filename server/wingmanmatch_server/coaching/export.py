"""A person's conversations, for the person to keep."""

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.json_format import MessageToDict

from wingmanmatch_server.coaching.conversation_store import ConversationStore
from wingmanmatch_server.coaching.service import message_of


async def export_conversations(store: ConversationStore, user_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yield a person's conversations as records, the one that is forgotten first leading."""
    for conversation in await store.of_person(user_id):
        yield MessageToDict(message_of(conversation), preserving_proto_field_name=True)
