"""A small model's opinion on messages in which the strict patterns found nothing."""

import asyncio
import re
from contextlib import aclosing
from typing import Protocol

import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.answer import Answer
from wingmanmatch_server.coaching.budget import Reservation, whole
from wingmanmatch_server.coaching.metrics import CoachingMetrics
from wingmanmatch_server.coaching.model import Model, RequestRefused, Stop
from wingmanmatch_server.coaching.prompts import Prompts
from wingmanmatch_server.coaching.safety import Category, Gate, Safety, Verdict

log = structlog.get_logger(__name__)

OPINION_SECONDS = 2.0
NOTHING = "none"
ANSWER = re.compile(r"\s*(self_harm|abuse|minor|harassment|pressure|none)\b\s*([a-z]{2})?\b")


class Budget(Protocol):
    """What a person may spend."""

    async def reserve(self, user_id: str, tokens: int) -> Reservation:
        """See `TokenBudget.reserve`."""

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """See `TokenBudget.settle`."""


class SecondOpinion:
    """Asks a model what a message is about, for at most `seconds`, at the cost of the person's budget."""

    def __init__(
        self,
        model: Model,
        budget: Budget,
        prompts: Prompts,
        safety: Safety,
        metrics: CoachingMetrics,
        *,
        seconds: float = OPINION_SECONDS,
    ) -> None:
        self._model = model
        self._budget = budget
        self._prompts = prompts
        self._safety = safety
        self._metrics = metrics
        self._seconds = seconds

    async def judge(self, user_id: str, message: str, fallback: Verdict) -> Verdict:
        """Return what the model says of a message.

        `fallback` stands where the budget is spent, or the model is unavailable, too slow or says anything else than
        it should. Whoever said to be a minor is one in either case.
        """
        try:
            async with asyncio.timeout(self._seconds):
                text = await self._ask(user_id, message)
        except (errors.Unavailable, errors.ResourceExhausted, TimeoutError) as error:
            return self._failed(fallback, type(error).__name__)
        except RequestRefused as error:
            log.error("second_opinion_request_refused", error=str(error))  # noqa: TRY400 - no traceback says more
            return self._failed(fallback, "RequestRefused")
        found = ANSWER.match(text)
        if found is None:
            return self._failed(fallback, "Unusable")
        self._metrics.opinion("given")
        category = None if found[1] == NOTHING else Category(found[1])
        return Verdict(
            category, fallback.minor or category is Category.MINOR, found[2] or fallback.language, certain=True
        )

    def _failed(self, fallback: Verdict, because: str) -> Verdict:
        log.warning("second_opinion_failed", because=because)
        self._metrics.opinion("failed")
        return fallback

    async def _ask(self, user_id: str, message: str) -> str:
        prompt = self._prompts.safety(message)
        reservation = await self._budget.reserve(user_id, prompt.size + prompt.max_tokens)
        answer = Answer(prompt, Gate(self._safety), asked=True)
        try:
            async with aclosing(self._model.answer(prompt)) as events:
                async for event in events:
                    answer.take(event)
        finally:
            await whole(self._budget.settle(reservation, answer.cost(left=True)))
            self._metrics.tokens(answer.input_tokens, answer.output_tokens)
        return answer.text if answer.stop is not Stop.REFUSAL else ""
