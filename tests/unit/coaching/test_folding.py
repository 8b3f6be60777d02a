"""The forms in which the safety layer reads a message."""

import pytest

from wingmanmatch_server.coaching import folding
from wingmanmatch_server.coaching.safety import Safety


def plain(text: str) -> str:
    """Return the plain form of a text."""
    return next(folding.forms(text))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Don’t  STOP,\nme!", " dont stop me . "),
        ("w\u200ba\u2060nt", " want . "),
        ("d\u0336i\u0336e", " die . "),
        ("ｗｉｄｅ 𝓼𝓬𝓻𝓲𝓹𝓽", " wide script . "),
        ("sooooo hellllo", " so helo . "),
        ("Größe, ça, Мой", " grose ca мои . "),
        ("at 3.5 miles. Then", " at 3.5 miles . then . "),
        ("", " . "),
    ],
)
def test_plain_form(text: str, form: str) -> None:
    """Width, style, case, accents, unseen characters, apostrophes and repeated letters make no difference."""
    assert plain(text) == form


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("k1ll mys3lf", " kil myself . "),
        ("ki1l", " kil . "),
        ("d!e n0w!", " die now . "),
        ("dіе", " die . "),  # Cyrillic і and е
        ("кill", " kil . "),  # Cyrillic к
    ],
)
def test_disguised_letters(text: str, form: str) -> None:
    """Digits, symbols and letters of other scripts are read as the letters that they look like."""
    assert form in set(folding.forms(text))


def test_numbers_stay_numbers() -> None:
    """An age is no disguise."""
    assert list(folding.forms("I'm 15")) == [" im 15 . "]


@pytest.mark.parametrize("text", ["k i l l", "k.i.l.l", "k - i - l - l", "k_i_l_l"])
def test_letters_apart(text: str) -> None:
    """Letters written apart are joined."""
    assert "kil" in folding.together(f"I {text}").split()[0]


def test_japanese_needs_no_blanks() -> None:
    """Japanese is read without blanks, and other languages are not read as Japanese."""
    assert folding.japanese("死 に た い!") == "死にたい."
    assert folding.japanese("I want to die") == ""


LONG = [
    "a" * 10_000,
    "a " * 5_000,
    "." * 10_000,
    "a." * 5_000,
    " " * 10_000,
    "\n" * 10_000,
    "1a!" * 3_333,
    "и\u0306" * 5_000,
    "\u0336" * 10_000,
    "死に " * 3_333,
    "i want to " * 1_000,
    "how do i get her " * 600,
    "she said no and " * 625,
    "mi novio me dice que me " * 416,
]
SAFETY = Safety()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_long_messages_take_no_longer_than_their_length(text: str) -> None:
    """Ten thousand characters, of whatever makes patterns try again and again, are judged, and are about nothing."""
    assert SAFETY.judge(text).category is None
