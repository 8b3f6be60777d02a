"""How a conversation begins: not for somebody who was just erased."""

import asyncio
from typing import Protocol

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.conversation_store import ConversationStore
from wingmanmatch_server.coaching.history import Conversation

log = structlog.get_logger(__name__)

ERASURE_SECONDS = 2.0  # for the database to say whether the person was erased


class Erasures(Protocol):
    """Knows who was erased."""

    async def require_not_erased(self, user_id: str) -> None:
        """See `CoachingStore.require_not_erased`."""


class NewConversations:
    """Stores new conversations, but of people who were erased within the last 24 hours."""

    def __init__(self, conversations: ConversationStore, erasures: Erasures) -> None:
        self._conversations = conversations
        self._erasures = erasures

    async def begin(self, conversation: Conversation) -> Conversation:
        """Store a new conversation. Raises errors.FailedPrecondition ERASED_RECENTLY, and what the store raises.

        An erasure deletes conversations after it is in the database: what was stored before that is deleted with the
        rest, and what is stored after it finds the erasure here. Where the database does not answer, nothing is known
        of erasures, and the conversation stays.
        """
        begun = await self._conversations.begin(conversation)
        try:
            async with asyncio.timeout(ERASURE_SECONDS):
                await self._erasures.require_not_erased(conversation.user_id)
        except errors.FailedPrecondition:
            await self.forget(begun)
            raise
        except (*errors.TRANSIENT, TimeoutError):
            log.warning("coaching_without_erasures")
        return begun

    async def forget(self, conversation: Conversation) -> None:
        """Delete a conversation of which nobody knows; where that fails it ends by itself."""
        try:
            await self._conversations.delete(conversation.user_id, conversation.id)
        except errors.DomainError as error:
            log.warning("coaching_conversation_not_forgotten", reason=error.reason)
