"""What is refused or redirected: before the model, in what a person writes, and after it, in what it says.

Phrases in ten languages, over texts in every form in which they may be disguised, find most of what is said. They are
the first line and not the only one: the second is what the model is told in its prompt, the third its own refusal.
`docs/coaching.md` has the policy.
"""

import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from importlib import resources
from typing import Any, NamedTuple

from wingmanmatch_server.coaching import folding
from wingmanmatch_server.coaching.phrases import LANGUAGES, Findings, Found, Language

MINOR_PERSON, MINOR_OTHER, MINOR_ROMANCE = "minor_person", "minor_other", "minor_romance"
HELD_BACK = 120  # characters, as long as the longest match of an `answer` pattern may be with what it looks at behind
LOOK_BEHIND = 40  # characters, more than any pattern looks at before its match
SENTENCE_ENDS = re.compile(r"[.!?…\n]+[\s\"')\]]+")
_STRAIGHT = str.maketrans("\u2019\u2018`\u00b4\u201c\u201d\u2013\u2014", "''''\"\"--")
_INVISIBLE = re.compile(r"[\u200b-\u200f\u2060\ufeff\u00ad]")


Languages = dict[str, re.Pattern[str]]


class Category(StrEnum):
    """What a text is about."""

    SELF_HARM = "self_harm"
    ABUSE = "abuse"
    MINOR = "minor"
    HARASSMENT = "harassment"
    PRESSURE = "pressure"
    TELEPHONE = "telephone"


# Those who need other help than a coach's; the rest is refused.
REDIRECTED = (Category.SELF_HARM, Category.ABUSE, Category.MINOR)
# Those who need it at once, whatever is used up or switched off.
CRISIS = (Category.SELF_HARM, Category.ABUSE)


class Verdict(NamedTuple):
    """What was found in a message: nothing that is not answered, or a category, said in a language (ISO 639-1).

    `minor`: the person said to be one. `certain` where it was not only by looser phrases.
    """

    category: Category | None
    minor: bool
    language: str = "en"
    certain: bool = False


class Safety:
    """The phrases and patterns, ready to search."""

    def __init__(self) -> None:
        file = resources.files(__package__) / "safety_patterns.toml"
        patterns = tomllib.loads(file.read_text("utf-8"))
        self._languages = [Language(name) for name in LANGUAGES]
        self._message = {Category(name): _by_language(each) for name, each in patterns["message"].items()}
        self._answer = {Category(name): _any_of(each) for name, each in patterns["answer"].items()}
        minor, age = patterns["minor"], partial(_filled, patterns["minor"])
        self._minor_person = _by_language(minor["person"], age)
        self._minor_other = _by_language(minor["other"], age)
        self._romance = _by_language(minor["romance"])

    def judge(self, message: str, *, minor: bool = False) -> Verdict:
        """Return what a message is about; `minor` says that the person is known to be one."""
        findings = self._findings(message)
        minor = minor or findings.has(MINOR_PERSON)
        for category in Category:
            if category is not Category.MINOR and findings.has(category):
                return Verdict(category, minor, findings.language(category), findings.certain(category))
        if findings.has(MINOR_ROMANCE) and (minor or findings.has(MINOR_OTHER)):
            return Verdict(Category.MINOR, minor, findings.language(MINOR_ROMANCE), certain=True)
        return Verdict(None, minor)

    def _findings(self, message: str) -> Findings:
        findings = Findings()
        self._find_patterns(normalized(message), findings)
        for form in folding.forms(message):
            self._find_phrases(form, findings, blanks=True)
        self._find_phrases(folding.japanese(message), findings, blanks=False)
        together, plain = folding.together(message), next(folding.forms(message)).split()
        for language in self._languages:
            findings.liken(language.name, language.likeness(plain))
            if language.find_together(together):
                findings.add(language.name, Found(Category.SELF_HARM, certain=True))
        return findings

    def _find_patterns(self, text: str, findings: Findings) -> None:
        for topic, patterns in self._patterns():
            for name in _spoken(patterns, text):
                findings.add(name, Found(topic, certain=True))

    def _find_phrases(self, form: str, findings: Findings, *, blanks: bool) -> None:
        languages = [language for language in self._languages if language.blanks == blanks]
        for language in languages:
            form = language.without_harmless(form)
        for language in languages:
            for found in language.find(form):
                findings.add(language.name, found)

    def _patterns(self) -> Iterator[tuple[str, Languages]]:
        yield from self._message.items()
        yield MINOR_PERSON, self._minor_person
        yield MINOR_OTHER, self._minor_other
        yield MINOR_ROMANCE, self._romance

    def unsayable(self, text: str, *, before: str = "", after: str = "") -> Category | None:
        """Return what the coach may not say in `text`, None if nothing.

        What may not be said may begin in `before`, which was said already, and end in `after`, which is still to come;
        none is found that lies in one of them alone.
        """
        plain, said, judged = normalized(before + text + after), len(normalized(before)), len(normalized(before + text))
        for category, pattern in self._answer.items():
            if any(match.end() > said and match.start() < judged for match in pattern.finditer(plain)):
                return category
        return None


class Gate:
    """Lets an answer pass piece by piece, and stops before the first thing that may not be said.

    Whole sentences pass at once; of the one that is not finished, HELD_BACK characters wait for what follows. Text is
    judged when it is about to pass, since what follows may change what it means.
    """

    def __init__(self, safety: Safety) -> None:
        self._safety = safety
        self._held = ""
        self._passed = ""  # the end of what passed
        self.category: Category | None = None

    def feed(self, text: str) -> str:
        """Take the next piece and return what may pass now, perhaps nothing; after a find always nothing."""
        if self.category is not None:
            return ""
        self._held += text
        return self._release(max(self._sentence_ends()[-1], len(self._held) - HELD_BACK))

    def end(self) -> str:
        """Return what is still held back, when no more follows."""
        return self._release(len(self._held))

    def _sentence_ends(self) -> list[int]:
        return [0, *(match.end() for match in SENTENCE_ENDS.finditer(self._held))]

    def _release(self, size: int) -> str:
        if size <= 0:
            return ""
        self.category = self._fault_before(size)
        if self.category is not None:
            size = max(end for end in self._sentence_ends() if self._fault_before(end) is None)
        passing, self._held = self._held[:size], self._held[size:]
        self._passed = (self._passed + passing)[-HELD_BACK - LOOK_BEHIND :]
        if self.category is not None:
            self._held = ""
        return passing

    def _fault_before(self, size: int) -> Category | None:
        if not size:
            return None
        return self._safety.unsayable(self._held[:size], before=self._passed, after=self._held[size:])


def normalized(text: str) -> str:
    """Return a text in the form that patterns expect."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).translate(_STRAIGHT)
    return " ".join(plain.casefold().replace("\u00df", "ss").split())


def _spoken(patterns: Languages, text: str) -> Iterator[str]:
    """Yield the languages in which something is said in a text."""
    return (language for language, pattern in patterns.items() if pattern.search(text))


def _by_language(patterns: Mapping[str, Sequence[str]], fill: Callable[[str], str] = str) -> Languages:
    return {language: _any_of([fill(pattern) for pattern in each]) for language, each in patterns.items()}


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each.replace('ß', 'ss')})" for each in patterns))


def _filled(parts: Mapping[str, Any], pattern: str) -> str:
    return pattern.replace("{age}", parts["age"]).replace("{end}", parts["end"])
