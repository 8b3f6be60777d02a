"""Judges what a person writes before anything is asked, charged or counted, and answers what no coach should.

It needs neither the model nor a key: it is there where coaching is switched off, too.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.answer import Done, Ending
from wingmanmatch_server.coaching.conversation_store import ConversationStore
from wingmanmatch_server.coaching.history import Conversation
from wingmanmatch_server.coaching.metrics import CoachingMetrics
from wingmanmatch_server.coaching.new_conversations import NewConversations
from wingmanmatch_server.coaching.replies import Replies
from wingmanmatch_server.coaching.safety import CRISIS, REDIRECTED, Category, Safety, Verdict
from wingmanmatch_server.coaching.second_opinion import SecondOpinion

log = structlog.get_logger(__name__)


class Screening:
    """The first layer, with what it answers. It waits for Redis only once the reply is on its way."""

    def __init__(
        self,
        safety: Safety,
        replies: Replies,
        conversations: ConversationStore,
        beginnings: NewConversations,
        metrics: CoachingMetrics,
        opinion: SecondOpinion | None = None,
    ) -> None:
        """Without a second opinion the patterns alone decide."""
        self._safety = safety
        self._replies = replies
        self._conversations = conversations
        self._beginnings = beginnings
        self._metrics = metrics
        self._opinion = opinion

    async def screen(self, user_id: str, message: str, admit: Callable[[], Awaitable[None]]) -> Verdict:
        """Return what a message is about: nothing, or what is redirected.

        `admit` is called unless somebody is in crisis. Where it raises although only loose patterns found a crisis,
        because no second opinion can be had then, the crisis stands. Raises errors.InvalidArgument MESSAGE_REFUSED.
        """
        verdict = self._safety.judge(message)
        if verdict.category in CRISIS and (verdict.certain or self._opinion is None):
            return verdict
        try:
            await admit()
        except errors.DomainError:
            if verdict.category not in CRISIS:
                raise
            return verdict
        if self._opinion is not None and not verdict.certain:
            verdict = await self._opinion.judge(user_id, message, verdict)
        self._refuse(verdict)
        return verdict

    def judge_minor(self, message: str) -> Verdict:
        """Return what the message of a person is about who is known to be a minor."""
        verdict = self._safety.judge(message, minor=True)
        if verdict.category is not Category.MINOR:
            return Verdict(None, minor=True)
        return verdict

    def _refuse(self, verdict: Verdict) -> None:
        if verdict.category is not None and verdict.category not in REDIRECTED:
            self._metrics.refused(verdict.category, "message")
            raise _refused(verdict)

    async def redirect(
        self, user_id: str, conversation_id: str | None, message: str, verdict: Verdict
    ) -> AsyncGenerator[str | Done, None]:
        """Answer without the model, by who can help better; nothing that is unavailable prevents it."""
        assert verdict.category is not None
        self._metrics.refused(verdict.category, "message")
        reply = self._replies.instead_of_an_answer(verdict.category, verdict.language)
        yield reply
        try:
            found = await self._found_or_begun(user_id, conversation_id)
            remembered = await self._conversations.add(found, message, reply, minor=verdict.minor)
            conversation_id = found.id
        except (errors.Unavailable, errors.Aborted, errors.FailedPrecondition) as error:
            log.warning("coaching_answer_not_remembered", reason=error.reason)
            remembered = False
        self._metrics.answered(Ending.REDIRECTED, 0, 0)
        yield Done(conversation_id or "", 0, 0, Ending.REDIRECTED, remembered)

    async def _found_or_begun(self, user_id: str, conversation_id: str | None) -> Conversation:
        try:
            found = await self._conversations.find(user_id, conversation_id)
        except errors.NotFound:
            found = await self._conversations.find(user_id, None)
        return found if found.version else await self._beginnings.begin(found)


def _refused(verdict: Verdict) -> errors.InvalidArgument:
    message = "the coach does not answer messages of this kind"
    violation = errors.FieldViolation("message", f"safety.{verdict.category}", message)
    return errors.InvalidArgument([violation], "MESSAGE_REFUSED", message, {"category": str(verdict.category)})
