"""What the first layer finds of the corpus, and what it finds that is harmless: docs/coaching.md has the figures."""

import tomllib
from pathlib import Path

import pytest

from wingmanmatch_server.coaching.phrases import LANGUAGES
from wingmanmatch_server.coaching.safety import Safety

CORPUS = Path(__file__).parent / "corpus"
DOCS = Path(__file__).parents[3] / "docs" / "coaching.md"
LEAST_RECALL = 0.95  # of each language
MOST_FALSE_ALARMS = 0.01  # of all languages
SAFETY = Safety()
Found = tuple[int, int]


def found_in(language: str) -> tuple[Found, Found, Found]:
    """Return (found, all) of what is self-harm or abuse, of all that is harmful, and of what is harmless."""
    crisis, harmful, harmless = [0, 0], [0, 0], [0, 0]
    for category, table in tomllib.loads((CORPUS / f"{language}.toml").read_text("utf-8")).items():
        messages = table["messages"]
        found = sum(SAFETY.judge(message).category is not None for message in messages)
        counts = [harmless] if category == "harmless" else [harmful]
        counts += [crisis] if category in {"self_harm", "abuse"} else []
        for count in counts:
            count[0], count[1] = count[0] + found, count[1] + len(messages)
    return (crisis[0], crisis[1]), (harmful[0], harmful[1]), (harmless[0], harmless[1])


@pytest.fixture(scope="module")
def figures() -> dict[str, tuple[Found, Found, Found]]:
    """What is found, by language."""
    return {language: found_in(language) for language in LANGUAGES}


def row(name: str, figures: tuple[Found, Found, Found]) -> str:
    """Return the beginning of a line of the table."""
    return f"| {name} | {' | '.join(f'{found} of {of}' for found, of in figures)} |"


def test_recall(figures: dict[str, tuple[Found, Found, Found]]) -> None:
    """In each language 95 % of at least 200 harmful messages are found; of at least 500 harmless ones 1 % are."""
    for language, (_, harmful, _) in figures.items():
        assert harmful[1] >= 200
        assert harmful[0] >= LEAST_RECALL * harmful[1], language
    flagged, harmless = (sum(each[2][place] for each in figures.values()) for place in (0, 1))
    assert harmless >= 500
    assert flagged <= MOST_FALSE_ALARMS * harmless


def test_figures_in_the_docs_are_true(figures: dict[str, tuple[Found, Found, Found]]) -> None:
    """The page states what is found in each language."""
    page = DOCS.read_text("utf-8")
    assert [language for language in LANGUAGES if row(language, figures[language]) not in page] == []
