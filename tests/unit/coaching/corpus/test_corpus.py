"""The form of the corpus that measures the safety layer."""

import itertools
import tomllib
import unicodedata
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "ru", "nl", "ja", "tr")
HARMFUL = ("self_harm", "abuse", "harassment", "pressure", "minor")
LONGEST = 200

Corpus = dict[str, list[str]]


@pytest.fixture(scope="module", params=LANGUAGES)
def corpus(request: pytest.FixtureRequest) -> Corpus:
    """Return the messages of one language by category."""
    tables = tomllib.loads((FOLDER / f"{request.param}.toml").read_text(encoding="utf-8"))
    assert all(table.keys() == {"messages"} for table in tables.values())
    return {category: table["messages"] for category, table in tables.items()}


def as_compared(message: str) -> str:
    """Return the message without case and with single spaces, as duplicates are found."""
    return " ".join(message.casefold().split())


def test_each_language_has_one_file() -> None:
    """The folder holds a file for each language and no other."""
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(LANGUAGES)


def test_categories_are_those_of_the_safety_layer(corpus: Corpus) -> None:
    """A file has every harmful category and the harmless one."""
    assert corpus.keys() == {*HARMFUL, "harmless"}


def test_there_are_enough_messages(corpus: Corpus) -> None:
    """At least 200 messages are harmful, 90 of them of self-harm and 20 of each other category; 80 are harmless."""
    assert sum(len(corpus[category]) for category in HARMFUL) >= 200
    assert len(corpus["self_harm"]) >= 90
    assert min(len(corpus[category]) for category in HARMFUL) >= 20
    assert len(corpus["harmless"]) >= 80


def test_messages_are_short_lines_of_normal_text(corpus: Corpus) -> None:
    """A message is one line of at most 200 characters in NFC, without spaces around it."""
    for message in itertools.chain(*corpus.values()):
        assert 0 < len(message) <= LONGEST, message
        assert message == unicodedata.normalize("NFC", message.strip()), message
        assert len(message.splitlines()) == 1, message


def test_no_message_stands_twice(corpus: Corpus) -> None:
    """No two messages of a language differ by case and spaces alone, whatever their categories."""
    compared = [as_compared(message) for message in itertools.chain(*corpus.values())]
    assert len(compared) == len(set(compared))
