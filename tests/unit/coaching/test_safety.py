"""What the safety layer finds, and what it leaves alone."""

import itertools
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wingmanmatch_server.coaching.phrases import LANGUAGES
from wingmanmatch_server.coaching.replies import Replies
from wingmanmatch_server.coaching.safety import HELD_BACK, REDIRECTED, Category, Gate, Safety, Verdict

CASES = tomllib.loads(Path(__file__).with_name("safety_cases.toml").read_text())
SAFETY = Safety()


def cases(kind: str) -> list[tuple[str, str | None]]:
    """Return (text, category) of every case; no category is None."""
    return [(text, None if name == "nothing" else name) for name, texts in CASES[kind].items() for text in texts]


@pytest.mark.parametrize(("message", "category"), cases("message"))
def test_message_is_judged(message: str, category: str | None) -> None:
    """What a person writes is about this and nothing else."""
    assert SAFETY.judge(message).category == category


@pytest.mark.parametrize(("text", "category"), cases("answer"))
def test_answer_is_judged(text: str, category: str | None) -> None:
    """What the coach says may be said, or is of this kind."""
    assert SAFETY.unsayable(text) == category


def test_every_category_has_cases() -> None:
    """No kind of pattern is without its proof."""
    assert {*CASES["message"], *CASES["answer"]} == {*Category, "nothing"}


def test_letters_can_be_written_in_many_ways() -> None:
    """Wide letters, curly quotes, capitals and odd blanks hide nothing."""
    assert SAFETY.judge("\uff29  WANT\n to\u00a0DIE").category is Category.SELF_HARM
    assert SAFETY.judge("I don\u2019t want to be alive").category is Category.SELF_HARM


def test_minor_is_known_by_what_they_say() -> None:
    """Saying one's age is no offence, but it is noted."""
    assert SAFETY.judge("I'm 15 and shy at school") == Verdict(None, minor=True)
    assert SAFETY.judge("How do I get a girlfriend?", minor=True) == Verdict(Category.MINOR, minor=True, certain=True)
    assert SAFETY.judge("How do I say hello?", minor=True) == Verdict(None, minor=True)


@pytest.mark.parametrize("text", [text for text, category in cases("answer") if category])
@pytest.mark.parametrize("size", [1, 7, 40])
def test_gate_holds_back_what_may_not_be_said(text: str, size: int) -> None:
    """However an answer is cut into pieces, what comes out of it may be said, and the sentences before it do come."""
    gate, before = Gate(SAFETY), "That is a good question. "
    whole = before + text + " And so on, for a while."
    passed = "".join(gate.feed(whole[place : place + size]) for place in range(0, len(whole), size)) + gate.end()
    assert SAFETY.unsayable(passed) is None
    assert passed == before
    assert gate.category is not None


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_gate_changes_nothing_else(size: int) -> None:
    """A harmless answer comes out as it went in, with as little delay as promised."""
    gate, whole = Gate(SAFETY), "One small step. " + "and then another, " * 30 + "done!\n\nGood luck."
    passed, fed = "", ""
    for place in range(0, len(whole), size):
        fed += whole[place : place + size]
        passed += gate.feed(whole[place : place + size])
        assert fed.startswith(passed)
        assert len(fed) - len(passed) <= HELD_BACK
    assert passed + gate.end() == whole


def test_replies_can_be_said() -> None:
    """What is said in place of an answer passes the rules for answers, and states no number but an age."""
    replies = Replies()
    texts = [text for by_language in replies.by_language.values() for text in by_language.values()]
    for text in [*texts, *map(replies.in_place_of_the_rest, Category)]:
        assert SAFETY.unsayable(text) is None
        assert "{" not in text
        assert not any(character.isdigit() for character in text.replace("18", ""))
    assert set(replies.by_language) == set(REDIRECTED)
    assert {frozenset(by_language) for by_language in replies.by_language.values()} == {frozenset(LANGUAGES)}


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("I want to kill myself", "en"),
        ("Ich will nicht mehr leben.", "de"),
        ("j'ai envie de mourir", "fr"),
        ("quiero morirme", "es"),
        ("Ich wurde missbraucht", "de"),
        ("Tengo 15 años y quiero una novia", "es"),
        ("J'ai 16 ans et je veux embrasser une fille", "fr"),
        ("non voglio più vivere", "it"),
        ("não quero mais viver", "pt"),
        ("ik wil niet meer leven", "nl"),
        ("я не хочу жить", "ru"),
        ("artık yaşamak istemiyorum", "tr"),
        ("もう死にたい", "ja"),
        ("Mein Freund schlägt mich", "de"),
        ("Ya no quiero vivir", "es"),
        ("mi marido me pega", "es"),
    ],
)
def test_reply_is_in_the_language_of_the_message(message: str, language: str) -> None:
    """Who is in need reads their own language."""
    verdict = SAFETY.judge(message)
    assert verdict.category is not None
    assert verdict.language == language
    replies = Replies()
    assert replies.instead_of_an_answer(verdict.category, language) == replies.by_language[verdict.category][language]


@pytest.mark.parametrize("text", [text for text, category in cases("answer") if category is None])
@pytest.mark.parametrize("size", [1, 7])
def test_gate_lets_pass_what_may_be_said(text: str, size: int) -> None:
    """What may be said passes, and is not found fault with when its beginning has long gone out."""
    gate, whole = Gate(SAFETY), f"{text} And then tell me {'how it went and how it felt and ' * 12}what you learnt."
    passed = "".join(gate.feed(whole[place : place + size]) for place in range(0, len(whole), size)) + gate.end()
    assert passed == whole


FRAGMENTS = st.sampled_from(
    [text for text, _ in cases("answer")] + ["And then ", "a long walk " * 12, "\n", "no means "]
)


@settings(deadline=None)
@given(st.lists(FRAGMENTS, max_size=8).map(" ".join), st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_gate_lets_nothing_out_however_it_is_cut(whole: str, sizes: list[int]) -> None:
    """What comes out is the beginning of what went in, whole if nothing was found, and may be said."""
    gate, passed, rest = Gate(SAFETY), "", whole
    for size in itertools.cycle(sizes):
        if not rest:
            break
        passed, rest = passed + gate.feed(rest[:size]), rest[size:]
    passed += gate.end()
    assert whole.startswith(passed)
    assert SAFETY.unsayable(passed) is None
    assert (gate.category is None) == (passed == whole)
