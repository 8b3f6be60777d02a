"""What coaching asks of a language model, in its own words; claude.py does it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Author(StrEnum):
    """Who wrote a message, under the name the model knows."""

    PERSON = "user"
    COACH = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of what the model is shown."""

    author: Author
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked.

    `instructions` are the same for everybody and may be cached by the provider; `facts` are about this person.
    The answer has at most `max_tokens`.
    """

    instructions: str
    facts: str
    turns: Sequence[Turn]
    max_tokens: int

    @property
    def size(self) -> int:
        """About how many tokens the model reads."""
        return sum(map(estimate_tokens, (self.instructions, self.facts, *(turn.text for turn in self.turns))))


@dataclass(frozen=True, slots=True)
class Started:
    """The model has read the prompt, of so many tokens."""

    input_tokens: int


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the answer."""

    text: str


class Stop(StrEnum):
    """Why a model stopped."""

    COMPLETE = "complete"
    LENGTH = "length"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Stopped:
    """The answer is whole; the model wrote so many tokens."""

    output_tokens: int
    stop: Stop


Event = Started | Text | Stopped


class RequestRefused(Exception):
    """The model's provider says that the request is wrong, which can only be a defect of ours. Quotes nothing of it."""


class Model(Protocol):
    """A language model."""

    def answer(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Stream the answer: Started, Text pieces, Stopped. Closing the generator stops the model at once.

        Raises errors.Unavailable COACH_UNAVAILABLE if the model does not answer or stops in the middle,
        errors.Unavailable CIRCUIT_OPEN, and RequestRefused. Each Unavailable says when to come back.
        """


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has, rather too many than too few."""
    return len(text.encode()) // 3 + 1
