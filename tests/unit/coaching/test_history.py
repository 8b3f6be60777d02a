"""What is remembered of a conversation, and in how many tokens."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from wingmanmatch_server.coaching.history import (
    HISTORY_TOKENS,
    LINE_CHARACTERS,
    SUMMARY_CHARACTERS,
    Conversation,
    bounded,
    extended,
)
from wingmanmatch_server.coaching.model import Author, estimate_tokens

NOW = datetime(2026, 11, 25, tzinfo=UTC)
NEW = Conversation("c", "u", NOW, NOW, NOW + timedelta(hours=72))


def talked(count: int, question: str, answer: str = "Yes.") -> Conversation:
    """Return a conversation of so many exchanges; each question begins with its number."""
    conversation = NEW
    for number in range(count):
        conversation = extended(conversation, f"{number} {question}", answer, NOW, minor=False)
    return conversation


def tokens(conversation: Conversation) -> int:
    """Return what the messages kept whole have."""
    return sum(estimate_tokens(each.text) for each in conversation.messages)


def test_short_conversation_is_kept_whole() -> None:
    """And nothing is summarized."""
    conversation = talked(10, "How do I begin?")
    assert (len(conversation.messages), conversation.summary) == (20, "")


@pytest.mark.parametrize("size", [300, 2000, 4000])
def test_long_conversation_is_bounded(size: int) -> None:
    """Whole exchanges fall off at the old end, and leave the beginning of what the person asked."""
    conversation = talked(100, "question " * (size // 9), "answer " * (size // 7))
    assert tokens(conversation) <= HISTORY_TOKENS
    assert [each.author for each in conversation.messages[:2]] == [Author.PERSON, Author.COACH]
    assert conversation.messages[-2].text.startswith("99 ")
    lines = conversation.summary.splitlines()
    first_kept = int(conversation.messages[0].text.split()[0])
    assert lines[-1].startswith(f"{first_kept - 1} question")
    assert len(conversation.summary) <= SUMMARY_CHARACTERS
    assert max(map(len, lines)) <= LINE_CHARACTERS
    assert "answer" not in conversation.summary


def test_latest_exchange_stays_however_long() -> None:
    """A model that is shown nothing could not go on."""
    conversation = bounded(talked(3, "x" * 4000), tokens=10)
    assert len(conversation.messages) == 2
    assert conversation.turns("Next?")[0].author is Author.PERSON


def test_prompt_is_bounded_whatever_was_said() -> None:
    """The most that a conversation adds to a prompt is known."""
    conversation = talked(60, "\U0001f44b" * 990, "\U0001f44b" * 990)
    shown = sum(estimate_tokens(turn.text) for turn in conversation.turns("\U0001f44b" * 4000))
    assert shown + estimate_tokens(conversation.summary) < HISTORY_TOKENS + 6000 + 4 * SUMMARY_CHARACTERS


def test_minor_is_never_unlearnt() -> None:
    """Who said so once is one, also after the words have fallen off."""
    assert extended(replace(NEW, minor=True), "a", "b", NOW, minor=False).minor
    assert extended(NEW, "a", "b", NOW, minor=True).minor
