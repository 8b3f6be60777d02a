"""What Claude is sent, exactly.

After a change that is meant, `UPDATE_GOLDEN=1 pytest tests/golden/test_prompts.py` writes the files anew. A prompt that
was in use gets a new version and so a new file; its old file stays as a record.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from wingmanmatch_server.coaching.claude import request_of
from wingmanmatch_server.coaching.history import Conversation, Message
from wingmanmatch_server.coaching.model import Author, Prompt, estimate_tokens
from wingmanmatch_server.coaching.prompts import COACH, PLAN, SAFETY, Prompts
from wingmanmatch_server.coaching.rows import (
    CatalogueEntry,
    KnownChallenge,
    KnownMeetup,
    KnownProfile,
    PersonContext,
    PlannedPerson,
)

FOLDER = Path(__file__).parent / "prompts"
MODEL = "claude-sonnet-5-5"
CACHEABLE = 1024  # tokens: a shorter prompt is not cached, whatever the request says
NOW = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
NEW = Conversation("c", "u", NOW, NOW, NOW + timedelta(hours=72))
KNOWN = PersonContext(
    profile=KnownProfile("BEGINNER", "GHOST", "America/New_York"),
    match_count=2,
    challenge=KnownChallenge("A smile and a nod", "BEGINNER", datetime(2026, 11, 30, 4, 30, tzinfo=UTC)),
    meetup=KnownMeetup(datetime(2026, 11, 28, 23, tzinfo=UTC), None),
)
NOBODY = PersonContext(profile=None, match_count=0, challenge=None, meetup=None)
TALKED = Conversation(
    "c",
    "u",
    NOW,
    NOW,
    NOW,
    messages=(Message(Author.PERSON, "I froze again.", NOW), Message(Author.COACH, "You went. That counts.", NOW)),
    summary="How do I begin?\nWhat if nobody answers?",
    minor=True,
)


def cases() -> dict[str, Prompt]:
    """Return a prompt by the name of its file."""
    prompts = Prompts()
    chat, question = prompts.chat, 'How do I say "hello"? 👋'
    people = [
        PlannedPerson("a", "BEGINNER", "GHOST", ("1",)),
        PlannedPerson("b", "ADVANCED", "SPRINTER", ()),
    ]
    catalogue = [CatalogueEntry("1", "A smile and a nod", "BEGINNER")]
    return {
        f"{COACH}.first": chat(NEW, KNOWN, question, 1024, now=NOW, minor=False),
        f"{COACH}.without_a_profile": chat(NEW, NOBODY, question, 1024, now=NOW, minor=False),
        f"{COACH}.without_the_database": chat(NEW, None, question, 1024, now=NOW, minor=False),
        f"{COACH}.later_with_a_minor": chat(TALKED, KNOWN, question, 1024, now=NOW, minor=True),
        PLAN: prompts.plan(people, catalogue),
        SAFETY: prompts.safety(question),
    }


def written(request: dict[str, Any]) -> str:
    """Return a request as a file that can be read: every text line by line."""

    def lines(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: lines(each) for name, each in value.items()}
        if isinstance(value, list):
            return [lines(each) for each in value]
        return value.split("\n") if isinstance(value, str) and "\n" in value else value

    return json.dumps(lines(request), ensure_ascii=False, indent=2) + "\n"


@pytest.mark.parametrize("name", cases())
def test_request_is_as_recorded(name: str) -> None:
    """Model, limits, system prompt with its mark for caching, facts and messages."""
    file, text = FOLDER / f"{name}.json", written(request_of(cases()[name], MODEL))
    if os.environ.get("UPDATE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


def test_instructions_are_alike_for_everybody() -> None:
    """What is cached holds nothing of anybody, or it would be cached once a person."""
    instructions = {prompt.instructions for name, prompt in cases().items() if name.startswith(COACH)}
    assert len(instructions) == 1
    # Four bytes a token are as many as English has.
    assert len(instructions.pop().encode()) / 4 >= CACHEABLE


def test_estimate_is_rather_too_high() -> None:
    """A reservation is to cover what the answer turns out to cost."""
    text = cases()[PLAN].instructions
    assert estimate_tokens(text) >= len(text) / 4
    assert estimate_tokens("日本語") >= 3


def test_every_prompt_in_use_is_a_file_with_a_version() -> None:
    """And no other file lies there unused, but for earlier versions."""
    names = {file.name for file in files("wingmanmatch_server.coaching").joinpath("prompts").iterdir()}
    assert {f"{COACH}.md", f"{PLAN}.md", f"{SAFETY}.md"} <= names
    assert all(name.split(".")[1].removeprefix("v").isdigit() for name in names)
