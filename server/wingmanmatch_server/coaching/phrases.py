"""What a language says about each topic, composed of its words and read from `safety_phrases/`.

A line of such a file is a sequence of words as a regular expression of RE2, which takes time in proportion to the text
whatever the text is. In it

    {name}   is one of the words that the file lists under that name
    ~  ~~    are up to three, and up to seven, other words of the sentence
    '        may be written, left out or be a blank

A line is written as the language is; it is brought into the form that `folding.words` gives to messages.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import chain
from typing import Any, NamedTuple

import re2

from wingmanmatch_server.coaching import folding

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "ru", "tr", "ja")
TOPICS = ("self_harm", "abuse", "harassment", "pressure")
MINOR_PARTS = ("person", "other", "romance")
WITHOUT_BLANKS = {"ja"}
_NAME = re.compile(r"\{([a-z_]+)\}")
SHORTEST_TOGETHER = 8  # letters; fewer are found in too many other words
MEMORY = 64 << 20  # bytes that one expression may use to be fast; beyond, it is slower and finds the same


class Found(NamedTuple):
    """A topic that a text is about. `certain` is False where only a looser line found it."""

    topic: str
    certain: bool


class Findings:
    """What was found in a message, in which languages."""

    def __init__(self) -> None:
        self._likeness: dict[str, int] = {}
        self._found: dict[str, dict[str, bool]] = {}

    def liken(self, language: str, likeness: int) -> None:
        """Note how much the message looks like a language."""
        self._likeness[language] = likeness

    def add(self, language: str, found: Found) -> None:
        """Note a finding."""
        languages = self._found.setdefault(found.topic, {})
        languages[language] = found.certain or languages.get(language, False)

    def has(self, topic: str) -> bool:
        """Tell whether a topic was found."""
        return topic in self._found

    def certain(self, topic: str) -> bool:
        """Tell whether a topic that was found is certain in one of the languages."""
        return any(self._found[topic].values())

    def language(self, topic: str) -> str:
        """Return the language in which a topic was found: of several, the one that the message looks like most."""
        languages = self._found[topic]
        return max(languages, key=lambda language: (self._likeness.get(language, 0), languages[language]))


class Language:
    """The phrases of one language, ready to search."""

    def __init__(self, name: str) -> None:
        file = resources.files(__package__) / "safety_phrases" / f"{name}.toml"
        parts = tomllib.loads(file.read_text("utf-8"))
        self.name = name
        self.blanks = name not in WITHOUT_BLANKS
        self._words = parts["words"]
        self._hints = frozenset(folding.squeezed(folding.letters(parts["hints"])).split())
        certain = {topic: self._lines(parts[topic]["certain"]) for topic in TOPICS}
        likely = {topic: self._lines(parts[topic].get("likely", "")) for topic in TOPICS}
        minor = {f"minor_{part}": self._lines(parts["minor"][part]) for part in MINOR_PARTS}
        self._harmless = self._any_of(self._lines(parts["harmless"]["phrases"]))
        self._all = self._any_of([*chain(*certain.values(), *likely.values(), *minor.values())])
        self._certain = {topic: self._any_of(lines) for topic, lines in (certain | minor).items()}
        self._likely = {topic: self._any_of(lines) for topic, lines in likely.items() if lines}
        self._together = _without_blanks(certain["self_harm"]) if self.blanks else None

    def without_harmless(self, text: str) -> str:
        """Return a folded text without the figures of speech that only look like harm."""
        edge = " . " if self.blanks else "."
        return self._harmless.sub(edge, text) if self._harmless.search(text) else text

    def find(self, text: str) -> Iterator[Found]:
        """Yield what a folded text is about."""
        if not self._all.search(text):
            return
        for topic, pattern in self._certain.items():
            if pattern.search(text):
                yield Found(topic, certain=True)
        for topic, pattern in self._likely.items():
            if pattern.search(text):
                yield Found(topic, certain=False)

    def find_together(self, text: str) -> bool:
        """Tell whether words that were written together, or in letters apart, speak of self-harm."""
        if self._together is None or not text.strip(" ."):
            return False
        return any(match.end() - match.start() >= SHORTEST_TOGETHER for match in self._together.finditer(text))

    def likeness(self, words: Sequence[str]) -> int:
        """Return how many of the words are among the most frequent ones of the language."""
        return sum(word in self._hints for word in words)

    def _lines(self, text: str) -> list[str]:
        return [self._line(line) for line in text.splitlines() if line and not line.startswith("#")]

    def _line(self, line: str) -> str:
        line = _folded(_NAME.sub(lambda match: self._words[match[1]], line.strip()))
        if not self.blanks:
            return line.replace("~~", "[^.]{0,24}").replace("~", "[^.]{0,10}")
        return line.replace(" ~~ ", " (?:[^ .]+ ){0,7}").replace(" ~ ", " (?:[^ .]+ ){0,3}")

    def _any_of(self, lines: Sequence[str]) -> Any:
        edge = " " if self.blanks else ""
        return _compiled(f"{edge}(?:{'|'.join(lines)}){edge}")


def _folded(line: str) -> str:
    """Return a line in the form of messages: everything but words is left as it is."""
    return folding.squeezed(folding.letters(line)).replace("'", " ?")


def _without_blanks(lines: Sequence[str]) -> Any:
    return _compiled(
        "|".join(
            line.replace(" (?:[^ .]+ ){0,7}", "").replace(" (?:[^ .]+ ){0,3}", "").replace(" ", " ?") for line in lines
        )
    )


def _compiled(expression: str) -> Any:
    options = re2.Options()
    options.max_mem, options.never_capture, options.log_errors = MEMORY, True, False
    return re2.compile(expression, options=options)
