"""What is remembered of a conversation: the latest messages whole, and what came before them in short."""

import textwrap
from dataclasses import dataclass, replace
from datetime import datetime

from wingmanmatch_server.coaching.model import Author, Turn, estimate_tokens

HISTORY_TOKENS = 6000  # of the messages kept whole
SUMMARY_CHARACTERS = 2000
LINE_CHARACTERS = 160  # of one message in the summary


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    author: Author
    text: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as it is remembered.

    `minor` says that the person told, in whichever conversation, to be younger than 18. `version` rises with each
    change; 0 is not stored yet.
    """

    id: str
    user_id: str
    create_time: datetime
    update_time: datetime
    expire_time: datetime
    messages: tuple[Message, ...] = ()
    summary: str = ""
    minor: bool = False
    version: int = 0

    def turns(self, message: str) -> list[Turn]:
        """Return what the model is shown when the person goes on with `message`."""
        turns = [Turn(each.author, each.text) for each in self.messages]
        return [*turns, Turn(Author.PERSON, message)]


def extended(conversation: Conversation, question: str, answer: str, now: datetime, *, minor: bool) -> Conversation:
    """Return the conversation with one more exchange, within its bounds."""
    added = (Message(Author.PERSON, question, now), Message(Author.COACH, answer, now))
    return bounded(
        replace(
            conversation,
            messages=(*conversation.messages, *added),
            update_time=now,
            minor=conversation.minor or minor,
        )
    )


def bounded(conversation: Conversation, tokens: int = HISTORY_TOKENS) -> Conversation:
    """Return the conversation with whole exchanges moved to the summary until `tokens` hold the rest.

    The latest exchange always stays, so that what the model is shown begins with the person.
    """
    kept, fallen = list(conversation.messages), []
    while len(kept) > 2 and sum(estimate_tokens(each.text) for each in kept) > tokens:  # noqa: PLR2004 - an exchange
        fallen += kept[:2]
        del kept[:2]
    if not fallen:
        return conversation
    return replace(conversation, messages=tuple(kept), summary=summarized(conversation.summary, fallen))


def summarized(summary: str, fallen: list[Message]) -> str:
    """Return the summary with the beginnings of what the person wrote; its own oldest lines give way.

    Only the person's words: they say what matters to them, and no model is asked, so this cannot fail or cost.
    """
    asked = [each.text for each in fallen if each.author is Author.PERSON]
    lines = [*summary.splitlines(), *(textwrap.shorten(text, LINE_CHARACTERS, placeholder=" …") for text in asked)]
    while len("\n".join(lines)) > SUMMARY_CHARACTERS:
        del lines[0]
    return "\n".join(lines)
