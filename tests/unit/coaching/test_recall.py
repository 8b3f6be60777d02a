"""What the first layer finds of the corpus, and what it finds that is harmless: docs/coaching.md has the figures."""

import tomllib
from pathlib import Path

from wingmanmatch_server.coaching.phrases import LANGUAGES
from wingmanmatch_server.coaching.safety import Safety

CORPUS = Path(__file__).parent / "corpus"
DOCS = Path(__file__).parents[3] / "docs" / "coaching.md"
SAFETY = Safety()
Found = tuple[int, int]


def found_in(language: str, half: int) -> tuple[Found, Found, Found]:
    """Return (found, all) of what is self-harm or abuse, of all that is harmful, and of what is harmless."""
    crisis, harmful, harmless = [0, 0], [0, 0], [0, 0]
    for category, table in tomllib.loads((CORPUS / f"{language}.toml").read_text("utf-8")).items():
        messages = table["messages"][half::2]
        found = sum(SAFETY.judge(message).category is not None for message in messages)
        counts = [harmless] if category == "harmless" else [harmful]
        counts += [crisis] if category in {"self_harm", "abuse"} else []
        for count in counts:
            count[0], count[1] = count[0] + found, count[1] + len(messages)
    return (crisis[0], crisis[1]), (harmful[0], harmful[1]), (harmless[0], harmless[1])


def row(name: str, development: tuple[Found, Found, Found], held_out: tuple[Found, Found, Found]) -> str:
    """Return a line of the table."""
    cells = [f"{found} of {of}, {100 * found / of:.0f} %" for found, of in (*development, *held_out)]
    return f"| {name} | {' | '.join(cells)} |"


def total(parts: list[tuple[Found, Found, Found]]) -> tuple[Found, Found, Found]:
    """Return the sums."""
    sums = [(sum(part[place][0] for part in parts), sum(part[place][1] for part in parts)) for place in range(3)]
    return sums[0], sums[1], sums[2]


def test_figures_in_the_docs_are_true() -> None:
    """The page states what is found of each language's development half and of its held-out half."""
    halves = {language: (found_in(language, 0), found_in(language, 1)) for language in LANGUAGES}
    lines = [row(language, *halves[language]) for language in LANGUAGES]
    lines.append(row("all", total([each[0] for each in halves.values()]), total([each[1] for each in halves.values()])))
    page = DOCS.read_text("utf-8")
    assert [line for line in lines if line not in page] == []
    crisis, _, harmless = total([each[0] for each in halves.values()])
    assert crisis[1] >= 700
    assert harmless[1] >= 450
