"""An answer as far as it was given: what may be told of it, what it cost, and why it ended."""

from dataclasses import dataclass, field
from enum import StrEnum

from wingmanmatch_server.coaching.model import Event, Prompt, Started, Stop, Text, estimate_tokens
from wingmanmatch_server.coaching.safety import Gate


class Ending(StrEnum):
    """Why an answer ended, under the name the API has for it."""

    COMPLETE = "COMPLETE"
    LENGTH = "LENGTH"
    REDIRECTED = "REDIRECTED"


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer. `remembered` is False where the conversation does not hold it."""

    conversation_id: str
    input_tokens: int
    output_tokens: int
    ending: Ending
    remembered: bool


ENDINGS = {Stop.COMPLETE: Ending.COMPLETE, Stop.LENGTH: Ending.LENGTH, Stop.REFUSAL: Ending.REDIRECTED}


@dataclass(slots=True)
class Answer:
    """What came of a prompt so far. `parts` were told; `stop` is None until the model stopped by itself."""

    prompt: Prompt
    gate: Gate
    parts: list[str] = field(default_factory=list)
    input_tokens: int = 0
    asked: bool = False
    stop: Stop | None = None
    _heard: list[str] = field(default_factory=list)
    _output_tokens: int = 0

    @property
    def text(self) -> str:
        """What was told."""
        return "".join(self.parts)

    @property
    def ending(self) -> Ending:
        """Why it ended; meaningless before it did."""
        return Ending.REDIRECTED if self.gate.category is not None else ENDINGS[self.stop or Stop.COMPLETE]

    @property
    def output_tokens(self) -> int:
        """What the model wrote, estimated where it was stopped before it said so."""
        if self.stop is not None:
            return self._output_tokens
        return estimate_tokens("".join(self._heard)) if self._heard else 0

    def cost(self, *, left: bool = False) -> int:
        """Return the tokens read and written. Where the caller `left` before the model told, reading is estimated."""
        unknown = self.prompt.size if left and self.asked else 0
        return (self.input_tokens or unknown) + self.output_tokens

    def take(self, event: Event) -> str:
        """Note an event and return what may be told of it."""
        if isinstance(event, Started):
            self.input_tokens = event.input_tokens
            return ""
        if isinstance(event, Text):
            self._heard.append(event.text)
            return self.say(self.gate.feed(event.text))
        self._output_tokens, self.stop = event.output_tokens, event.stop
        return self.say(self.gate.end())

    def say(self, text: str) -> str:
        """Note what is told, and return it."""
        if text:
            self.parts.append(text)
        return text
