"""Links in people's words, shown so that no mail client makes a link of them."""

# ruff: noqa: RUF001 - letters and dots that look like others are what this is about

import re

import pytest

from wingmanmatch_server.notification.defang import defang

LINKS = {
    "http://evil.example": "http[:]//evil[.]example",
    "HTTPS://Evil.Example/a?b=c.d": "HTTPS[:]//Evil[.]Example/a?b=c.d",
    "evil.example": "evil[.]example",
    "www.evil.example": "www[.]evil[.]example",
    "See evil.example.": "See evil[.]example.",
    "(evil.example), now": "(evil[.]example), now",
    "evil.example:8080/login.html": "evil[.]example:8080/login[.]html",
    "http://user:secret@evil.example:80": "http[:]//user:secret@evil[.]example:80",
    "http://bank.example@evil.example": "http[:]//bank[.]example@evil[.]example",
    "me@evil.example": "me@evil[.]example",
    "mailto:me@evil.example": "mailto[:]me@evil[.]example",
    "javascript:alert(1)": "javascript[:]alert(1)",
    "tel:+436601234": "tel[:]+436601234",
    "http://localhost/": "http[:]//localhost/",
    "myapp://open": "myapp[:]//open",
    "http:\\\\evil.example": "http[:]\\\\evil[.]example",
    "http:evil.example": "http[:]evil[.]example",
    "\\\\server\\share": "[\\\\]server\\share",
    "//evil.example/x": "[//]evil[.]example/x",
    "münchen.example": "münchen[.]example",
    "пример.рф": "пример[.]рф",
    "उदाहरण.भारत": "उदाहरण[.]भारत",
    "例子.中国": "例子[.]中国",
    "xn--e1afmkfd.xn--p1ai": "xn--e1afmkfd[.]xn--p1ai",
    "i❤.ws": "i❤[.]ws",
    "evil.co.uk": "evil[.]co[.]uk",
    "evil.com_5": "evil[.]com_5",
    "evil.com-5": "evil[.]com-5",
    "evil.example.5": "evil[.]example.5",
    "evil.example。": "evil[.]example。",
    "evil。example": "evil[.]example",
    "evil．example": "evil[.]example",
    "evil｡example": "evil[.]example",
    "http：／／evil．example": "http[:]／／evil[.]example",
    "192.0.2.7": "192[.]0[.]2[.]7",
    "http://192.0.2.7/": "http[:]//192[.]0[.]2[.]7/",
    "http://3221225991/": "http[:]//3221225991/",
    "evil\u200b.example": "evil\u200b[.]example",
    "evil.\u200bexample": "evil[.]\u200bexample",
    "evil.e\u200dxample": "evil[.]e\u200dxample",
    "http\u200b:\u200b//evil.example": "http[:]//evil[.]example",
    "http:/\u2060/evil.example": "http[:]/\u2060/evil[.]example",
    "ht\u00adtp://evil.example": "ht\u00adtp[:]//evil[.]example",
}
HARMLESS = (
    "",
    "Hello. I am Ann, and I am 3.5 miles away.",
    "At 18:30 Uhr, or 18.30Uhr on 28.11.2026, at the Prater...maybe?",
    "z.B. the café: 12:15, No. 7, 1/2 price, e.g. v1.2.3",
    "Note:this is 5:1",
    "👩\u200d👩\u200d👧 see you there",
)


@pytest.mark.parametrize("link", LINKS)
def test_links_are_broken(link: str) -> None:
    """Every form of a link is shown with brackets where a client would look for it."""
    assert defang(link) == LINKS[link]
    assert defang(f"Look: {link} now") == f"Look: {LINKS[link]} now"


@pytest.mark.parametrize("text", HARMLESS)
def test_other_words_stay(text: str) -> None:
    """Sentences, numbers, times, dates and abbreviations are left as they were written."""
    assert defang(text) == text


@pytest.mark.parametrize("link", LINKS)
def test_twice_is_once(link: str) -> None:
    """What was defanged is not changed by defanging it again."""
    assert defang(defang(link)) == defang(link)


def test_long_words_take_no_time_to_speak_of() -> None:
    """A text of nothing but dots and letters is done in one pass: all its dots are broken."""
    assert re.fullmatch(r"(ab\[\.\])+ab", defang(".".join(["ab"] * 20_000)))
