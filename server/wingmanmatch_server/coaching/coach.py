"""One answer: from the person's message to what is remembered of it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.budget import Reservation
from wingmanmatch_server.coaching.conversation_store import ConversationStore
from wingmanmatch_server.coaching.history import Conversation
from wingmanmatch_server.coaching.metrics import CoachingMetrics
from wingmanmatch_server.coaching.model import Event, Model, Prompt, Started, Stop, Stopped, Text, estimate_tokens
from wingmanmatch_server.coaching.prompts import Prompts
from wingmanmatch_server.coaching.replies import REPLIES, in_place_of
from wingmanmatch_server.coaching.safety import REDIRECTED, Gate, Safety, Verdict

log = structlog.get_logger(__name__)

CONTEXT_SECONDS = 2.0  # for what the coach knows of a person; without it the answer is less personal


class Ending(StrEnum):
    """Why an answer ended, under the name the API has for it."""

    COMPLETE = "COMPLETE"
    LENGTH = "LENGTH"
    REDIRECTED = "REDIRECTED"


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer."""

    conversation_id: str
    input_tokens: int
    output_tokens: int
    ending: Ending


class Knowledge(Protocol):
    """What the coach may know of people."""

    async def context(self, user_id: str) -> dict[str, Any]:
        """See `CoachingStore.context`."""


class Budget(Protocol):
    """What a person may spend."""

    async def reserve(self, user_id: str, tokens: int) -> Reservation:
        """See `TokenBudget.reserve`."""

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """See `TokenBudget.settle`."""


@dataclass(slots=True)
class _Answer:
    """An answer as far as it was given."""

    gate: Gate
    parts: list[str] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int | None = None
    ending: Ending = Ending.COMPLETE

    @property
    def text(self) -> str:
        return "".join(self.parts)

    @property
    def written(self) -> int:
        """What the model wrote, estimated until it says so."""
        return self.output_tokens if self.output_tokens is not None else estimate_tokens(self.text)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.written if self.input_tokens else 0

    def take(self, event: Event) -> str:
        """Note an event and return what may be told of it."""
        if isinstance(event, Started):
            self.input_tokens = event.input_tokens
        elif isinstance(event, Stopped):
            self.output_tokens = event.output_tokens
            self.ending = _ENDINGS[event.stop]
            return self.say(self.gate.end())
        elif isinstance(event, Text):
            return self.say(self.gate.feed(event.text))
        return ""

    def say(self, text: str) -> str:
        if text:
            self.parts.append(text)
        return text


_ENDINGS = {Stop.COMPLETE: Ending.COMPLETE, Stop.LENGTH: Ending.LENGTH, Stop.REFUSAL: Ending.REDIRECTED}


class Coach:
    """Answers, and keeps conversations. It holds nothing between two answers."""

    def __init__(
        self,
        model: Model,
        conversations: ConversationStore,
        knowledge: Knowledge,
        budget: Budget,
        safety: Safety,
        prompts: Prompts,
        metrics: CoachingMetrics,
        *,
        max_output_tokens: int,
    ) -> None:
        self._model = model
        self._conversations = conversations
        self._knowledge = knowledge
        self._budget = budget
        self._safety = safety
        self._prompts = prompts
        self._metrics = metrics
        self._max_output_tokens = max_output_tokens

    async def chat(self, user_id: str, conversation_id: str | None, message: str) -> AsyncGenerator[str | Done, None]:
        """Answer a message in pieces, then Done. Without an id a conversation is begun.

        Closing the generator stops the model at once. What was told so far is remembered and paid for, however it ends.
        Raises errors.InvalidArgument MESSAGE_REFUSED, errors.NotFound CONVERSATION_NOT_FOUND, errors.ResourceExhausted
        COACHING_BUDGET_SPENT, errors.Unavailable.
        """
        asked = time.perf_counter()
        context = asyncio.create_task(self._context(user_id))
        try:
            known = await self._conversations.get(user_id, conversation_id) if conversation_id else None
            verdict = self._judge(message, minor=known is not None and known.minor)
            if verdict.category is not None:
                async for event in self._redirect(known, user_id, message, verdict):
                    yield event
                return
            facts = await context
        finally:
            context.cancel()
        conversation = known or await self._conversations.begin(user_id)
        prompt = self._prompts.chat(conversation, facts, message, self._max_output_tokens, minor=verdict.minor)
        reservation = await self._budget.reserve(user_id, prompt.size + prompt.max_tokens)
        answer = _Answer(Gate(self._safety))
        try:
            async with aclosing(self._told(prompt, answer)) as pieces:
                async for piece in pieces:
                    if len(answer.parts) == 1:
                        self._metrics.began(time.perf_counter() - asked)
                    yield piece
        except BaseException as error:
            await self._conclude_failed(conversation, message, verdict, answer, reservation, error)
            raise
        await _whole(self._conclude(conversation, message, verdict, answer, reservation))
        self._metrics.answered(answer.ending, answer.input_tokens, answer.written)
        yield Done(conversation.id, answer.input_tokens, answer.written, answer.ending)

    def _judge(self, message: str, *, minor: bool) -> Verdict:
        verdict = self._safety.judge(message, minor=minor)
        if verdict.category is not None:
            self._metrics.refused(verdict.category, "message")
            if verdict.category not in REDIRECTED:
                raise _refused(verdict)
        return verdict

    async def _context(self, user_id: str) -> dict[str, Any] | None:
        """Return what is known of the person, or None where the database does not say so in time."""
        try:
            async with asyncio.timeout(CONTEXT_SECONDS):
                return await self._knowledge.context(user_id)
        except (errors.Unavailable, TimeoutError):
            log.warning("coaching_without_context")
            return None

    async def _told(self, prompt: Prompt, answer: _Answer) -> AsyncGenerator[str, None]:
        """Yield what may be told of the model's answer; after the first thing that may not, something else instead."""
        async with aclosing(self._model.answer(prompt)) as events:
            async for event in events:
                if piece := answer.take(event):
                    yield piece
                if answer.gate.category is not None:
                    break
        if answer.gate.category is not None:
            self._metrics.refused(answer.gate.category, "answer")
            answer.ending = Ending.REDIRECTED
            yield answer.say((" " if answer.parts else "") + in_place_of(answer.gate.category))

    async def _redirect(
        self, known: Conversation | None, user_id: str, message: str, verdict: Verdict
    ) -> AsyncGenerator[str | Done, None]:
        """Answer without the model, by who can help better."""
        assert verdict.category is not None
        conversation, reply = known or await self._conversations.begin(user_id), REPLIES[verdict.category]
        yield reply
        await self._conversations.add(conversation, message, reply, minor=verdict.minor)
        self._metrics.answered(Ending.REDIRECTED, 0, 0)
        yield Done(conversation.id, 0, 0, Ending.REDIRECTED)

    async def _conclude(
        self, conversation: Conversation, message: str, verdict: Verdict, answer: _Answer, reservation: Reservation
    ) -> None:
        """Settle what the answer cost, and remember what of it was told."""
        await self._budget.settle(reservation, answer.tokens)
        if answer.parts:
            await self._conversations.add(conversation, message, answer.text, minor=verdict.minor)

    async def _conclude_failed(
        self,
        conversation: Conversation,
        message: str,
        verdict: Verdict,
        answer: _Answer,
        reservation: Reservation,
        error: BaseException,
    ) -> None:
        ending = "CANCELLED" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "FAILED"
        self._metrics.answered(ending, answer.input_tokens, answer.written if answer.parts else 0)
        try:
            await _whole(self._conclude(conversation, message, verdict, answer, reservation))
        except errors.DomainError as lost:
            log.warning("coaching_answer_not_remembered", reason=lost.reason)


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` to its end, even if the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _refused(verdict: Verdict) -> errors.InvalidArgument:
    message = "the coach does not answer messages of this kind"
    violation = errors.FieldViolation("message", f"safety.{verdict.category}", message)
    return errors.InvalidArgument([violation], "MESSAGE_REFUSED", message, {"category": str(verdict.category)})
