"""One answer: from the person's message to what is remembered of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.answer import Answer, Done
from wingmanmatch_server.coaching.budget import Reservation, whole
from wingmanmatch_server.coaching.conversation_store import ConversationStore
from wingmanmatch_server.coaching.history import Conversation
from wingmanmatch_server.coaching.metrics import CoachingMetrics
from wingmanmatch_server.coaching.model import Model, Stop
from wingmanmatch_server.coaching.new_conversations import NewConversations
from wingmanmatch_server.coaching.prompts import Prompts
from wingmanmatch_server.coaching.replies import NOTHING_SAID, REFUSED_BY_MODEL, Replies
from wingmanmatch_server.coaching.rows import PersonContext
from wingmanmatch_server.coaching.safety import Gate, Safety, Verdict
from wingmanmatch_server.coaching.screening import Screening

log = structlog.get_logger(__name__)

CONTEXT_SECONDS = 2.0  # for what the coach knows of a person; without it the answer is less personal


class Knowledge(Protocol):
    """What the coach may know of people."""

    async def context(self, user_id: str) -> PersonContext:
        """See `CoachingStore.context`."""


class Budget(Protocol):
    """What a person may spend."""

    async def reserve(self, user_id: str, tokens: int) -> Reservation:
        """See `TokenBudget.reserve`."""

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """See `TokenBudget.settle`."""


@dataclass(slots=True)
class _Exchange:
    """A message, its answer, and where both belong."""

    conversation: Conversation
    message: str
    minor: bool
    reservation: Reservation
    answer: Answer
    is_new: bool


class Coach:
    """Answers, and keeps conversations. It holds nothing between two answers."""

    def __init__(
        self,
        model: Model,
        conversations: ConversationStore,
        beginnings: NewConversations,
        knowledge: Knowledge,
        budget: Budget,
        safety: Safety,
        screening: Screening,
        replies: Replies,
        prompts: Prompts,
        metrics: CoachingMetrics,
        *,
        max_output_tokens: int,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        """`clock` returns monotonic seconds; `now` knows its offset."""
        self._model = model
        self._conversations = conversations
        self._beginnings = beginnings
        self._knowledge = knowledge
        self._budget = budget
        self._safety = safety
        self._screening = screening
        self._replies = replies
        self._prompts = prompts
        self._metrics = metrics
        self._max_output_tokens = max_output_tokens
        self._clock = clock
        self._now = now

    async def chat(
        self, user_id: str, conversation_id: str | None, message: str, verdict: Verdict
    ) -> AsyncGenerator[str | Done, None]:
        """Answer a message in pieces, then Done. Without an id a conversation is begun.

        `verdict` is what the screening found: nothing. Closing the generator stops the model at once. What was told so
        far is remembered and paid for, however it ends, but for a new conversation that its caller leaves: nobody would
        know its id. Where the model fails, the error's metadata has the id of what is remembered.

        Raises errors.NotFound CONVERSATION_NOT_FOUND, errors.ResourceExhausted COACHING_BUDGET_SPENT,
        errors.FailedPrecondition ERASED_RECENTLY, errors.Unavailable.
        """
        asked = self._clock()
        verdict, exchange = await self._prepare(user_id, conversation_id, message, verdict)
        if exchange is None:
            answer = self._screening.redirect(user_id, conversation_id, message, verdict)
        else:
            answer = self._answer(exchange, asked)
        async with aclosing(answer) as events:
            async for event in events:
                yield event

    async def _prepare(
        self, user_id: str, conversation_id: str | None, message: str, verdict: Verdict
    ) -> tuple[Verdict, _Exchange | None]:
        """Read what is known and reserve what the answer may cost; no exchange if the person told to be a minor."""
        context = asyncio.create_task(self._context(user_id))
        try:
            conversation = await self._conversations.find(user_id, conversation_id)
            if conversation.minor:
                verdict = self._screening.judge_minor(message)
            if verdict.category is not None:
                return verdict, None
            facts = await context
        finally:
            context.cancel()
        prompt = self._prompts.chat(
            conversation, facts, message, self._max_output_tokens, now=self._now(), minor=verdict.minor
        )
        reservation = await self._budget.reserve(user_id, prompt.size + prompt.max_tokens)
        answer, is_new = Answer(prompt, Gate(self._safety)), conversation.version == 0
        return verdict, _Exchange(conversation, message, verdict.minor, reservation, answer, is_new)

    async def _context(self, user_id: str) -> PersonContext | None:
        """Return what is known of the person, or None where the database does not say so in time."""
        try:
            async with asyncio.timeout(CONTEXT_SECONDS):
                return await self._knowledge.context(user_id)
        except (*errors.TRANSIENT, TimeoutError):
            log.warning("coaching_without_context")
            return None

    async def _answer(self, exchange: _Exchange, asked: float) -> AsyncGenerator[str | Done, None]:
        answer = exchange.answer
        try:
            if exchange.is_new:
                exchange.conversation = await self._beginnings.begin(exchange.conversation)
            async with aclosing(self._told(answer)) as pieces:
                async for piece in pieces:
                    if len(answer.parts) == 1:
                        self._metrics.began(self._clock() - asked)
                    yield piece
        except BaseException as error:
            await whole(self._conclude_failed(exchange, error))
            raise
        remembered = await whole(self._conclude(exchange))
        self._metrics.answered(answer.ending, answer.input_tokens, answer.output_tokens)
        yield Done(exchange.conversation.id, answer.input_tokens, answer.output_tokens, answer.ending, remembered)

    async def _told(self, answer: Answer) -> AsyncGenerator[str, None]:
        """Yield what may be told of the model's answer; after the first thing that may not, something else instead."""
        answer.asked = True
        async with aclosing(self._model.answer(answer.prompt)) as events:
            async for event in events:
                if piece := answer.take(event):
                    yield piece
                if answer.gate.category is not None:
                    break
        instead = ""
        if answer.gate.category is not None:
            self._metrics.refused(answer.gate.category, "answer")
            instead = self._replies.in_place_of_the_rest(answer.gate.category)
        elif answer.stop is Stop.REFUSAL:
            instead = REFUSED_BY_MODEL
        elif not answer.text.strip():
            instead = NOTHING_SAID
        if instead:
            yield answer.say((" " if answer.parts else "") + instead)

    async def _conclude(self, exchange: _Exchange) -> bool:
        """Settle what the answer cost, and remember what of it was told; return whether it is remembered."""
        answer = exchange.answer
        await self._budget.settle(exchange.reservation, answer.cost())
        # What the model refused is left out: shown again, it would refuse all that follows.
        return answer.stop is not Stop.REFUSAL and await self._remember(exchange)

    async def _conclude_failed(self, exchange: _Exchange, error: BaseException) -> None:
        answer = exchange.answer
        left = isinstance(error, asyncio.CancelledError | GeneratorExit)
        self._metrics.answered("CANCELLED" if left else "FAILED", answer.input_tokens, answer.output_tokens)
        await self._budget.settle(exchange.reservation, answer.cost(left=left))
        if exchange.is_new and (left or not answer.parts):
            await self._beginnings.forget(exchange.conversation)
        elif await self._remember(exchange) and isinstance(error, errors.Unavailable):
            error.metadata["conversation_id"] = exchange.conversation.id

    async def _remember(self, exchange: _Exchange) -> bool:
        told = exchange.answer.text
        if not told.strip():
            return False
        try:
            return await self._conversations.add(exchange.conversation, exchange.message, told, minor=exchange.minor)
        except errors.DomainError as error:
            log.warning("coaching_answer_not_remembered", reason=error.reason)
            return False
