"""Names of people and places: who is called so, and what is none."""
# ruff: noqa: RUF001 - letters that look alike are what this is about

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wingmanmatch_server.texts.names import check_person_name, check_place_name
from wingmanmatch_server.texts.refused import TextRefused

# A hundred and more first names that people have, script by script.
REAL_NAMES = {
    "Latin": "Zoë O'Brien Jean-Luc José María Æther Øyvind Łukasz Þórunn Ŋɔni Ñusta Çağla Ștefan Ģirts J.R. Ng Bo",
    "Latin with another apostrophe": "D’Angelo N`Dri O´Neill",
    "Latin of Vietnam": "Nguyễn Văn Đặng Thị Hằng Ánh Phước",
    "Latin of Hawaii": "ʻOkina Kaʻiulani Keʻalohi Noʻeau",
    "Cyrillic": "Иван Ольга Юрій Ђорђе Ғалия Ёлка Андрій Наталія",
    "Greek": "Γιώργος Ελένη Ιωάννα Χρήστος Αγγελική",
    "Han": "李雷 美玲 伟 子轩 秀英",
    "Japanese": "さくら ヒロシ 陽菜 健太 ジャン・ポール",
    "Hangul": "지민 서연 민준 하은 도윤",
    "Arabic": "محمد فاطمة د. عبدالله زينب",
    "Persian": "علی‌رضا امیرحسین نگار پریسا مهدی‌یار",
    "Hebrew": "נועה יוסף מרים תמר אברהם",
    "Devanagari": "आरव प्रिया श्रीकृष्ण लक्ष्मी ऋषि",
    "Bengali": "অনিকা সৌরভ রিয়া তানভীর",
    "Tamil": "கார்த்திக் மீனா அருண் செல்வி",
    "Thai": "สมชาย นงนุช กิตติ พิมพ์ชนก",
    "Georgian": "გიორგი ნინო თამარ ლევანი",
    "Armenian": "Արամ Անահիտ Նարեկ Սիրանուշ",
    "Ethiopic": "አበበ ሰላም ዮሐንስ ትዕግስት",
    "Khmer": "សុខា ចន្ទ្រា ដារា",
    "Cherokee": "ᏣᎳᎩ ᏩᎭᏯ",
}
NAMES = [name for names in REAL_NAMES.values() for name in names.split()]
COMPOSED = ["María José", "Nguyễn Văn A", "Jean Luc", "St. John", "Mary Anne (Molly)", "Sam 2", "Ann, Dr."]
# People are called so although it looks like words for staff, or like a part of our name.
LOOK_LIKE_OURS = ["Staff", "Service", "Teamur", "Adminah", "Wing", "Ingman", "Winston", "Modesta", "Suportina"]
LINKS = (
    *("http://evil.example/?a=1", "https://x", "evil.example", "see evil.example.", "(evil.example)", "www.evil"),
    *("evil.example/path", "x.com", "a@evil.example", "mailto:eve", "javascript:alert(1)", "tel:112", "10.0.0.1 now"),
    *(
        "ｅｖｉｌ．ｅｘａｍｐｌｅ",
        "evil。example",
        "evil․example",
        "evil｡example",
        "пример.рф",
        "例子.测试",
        "evil.xn--p1ai",
    ),
    *("EVIL.EXAMPLE", "sub.evil.example:8080", "Account locked http://evil.example", "evil.example?x=1"),
)
INVISIBLE = ("\u200b", "\u200b\u200d", "\u202eannA", "Ann\u200b", "\ufeffAnn", "A\u00adnn", "\u2066Ann\u2069", "\u3164")
INVISIBLE += ("Ann\u200d", "A\u200cnn", "\U000e0041nn", "\u0007Ann", "Ann\u2028", "\ue000nn", "\u115f\u1160")


def rule_of(text: str, *, place: bool = False) -> str:
    """Return the rule that a text breaks, empty if it is a name."""
    try:
        (check_place_name if place else check_person_name)(text)
    except TextRefused as refused:
        return refused.rule.partition(".")[2]
    return ""


def test_there_are_a_hundred_names_in_fifteen_scripts() -> None:
    """The list is as long as it says, so that a rule which shuts out a script is noticed."""
    assert (len(NAMES) >= 100, len(REAL_NAMES) >= 15) == (True, True)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", [*NAMES, *COMPOSED, *LOOK_LIKE_OURS])
def test_real_names_are_names(name: str, form: str) -> None:
    """People may give their own names, whether a keyboard composes the accents or not; so may places."""
    written = unicodedata.normalize(form, name)  # type: ignore[arg-type]
    assert rule_of(written) == ""
    assert rule_of(written, place=True) == ""


@given(st.lists(st.sampled_from(NAMES), min_size=2, max_size=3), st.sampled_from([" ", "-", " - ", ", "]))
def test_names_of_several_names_are_names(parts: list[str], between: str) -> None:
    """However real names are joined, the result is a name: no two of them make a word for staff or a domain."""
    assert rule_of(between.join(parts)) == ""


@pytest.mark.parametrize("text", LINKS)
def test_links_are_no_names(text: str) -> None:
    """What a mail program would make a link of is refused, in names of people and of places."""
    assert (rule_of(text), rule_of(text, place=True)) == ("link", "link")


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_what_does_not_show_is_refused(text: str) -> None:
    """Neither characters without a picture, nor those that turn the text around them, stand in a name."""
    assert (rule_of(text), rule_of(text, place=True)) == ("invisible", "invisible")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("<b>", "character"),
        ("Ann ✓", "character"),
        ("Ann=1", "character"),
        ("a/b", "character"),
        ("Ann@home", "character"),
        ("...", "letter"),
        ("123", "letter"),
        ("- -", "letter"),
        ("\u0301", "letter"),
    ],
)
def test_texts_that_are_no_names(text: str, rule: str) -> None:
    """A name has a letter, and nothing that no name has."""
    assert rule_of(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        *("WingmanMatch", "wingman match", "Wingman", "W i n g m a n", "W-i-n-g-m-a-n", "WINGMAN SUPPORT"),
        *("Wíngmàn", "W1ngman", "Wlngman", "VVingman", "Wingrnan", "𝐖𝐢𝐧𝐠𝐦𝐚𝐧", "Ｗｉｎｇｍａｎ", "Wιngman", "Wіngmаn"),
        *("Ꮃingman", "Ωingman", "шingman", "The Wingman Team", "Wiոgmaո"),
        *("Admin", "Αdmin", "Аdmіn", "A d m i n", "Adm1n", "ADMlN", "Ann Admin", "Support", "Ѕuppоrt", "5upport"),
        *(
            "Support Team",
            "Customer Service",
            "Security Team",
            "Account Security",
            "Moderator",
            "Help Desk",
            "No Reply",
        ),
    ],
)
def test_names_of_ours_are_nobodys(text: str) -> None:
    """Whatever reads as our name or as one of our staff is refused, in other letters and spaced out, too."""
    assert rule_of(text) == "reserved"


@pytest.mark.parametrize(
    "text",
    [
        *("Prater", "Café № 5 / corner", "McDonald's @ Main St.", "St. Stephen's Green", "12.30Uhr"),
        *("Bar: upstairs", "Washington D.C.", "U.S. Embassy", "Café at 7 p.m.", "i.e. the park", "北京烤鸭店", "5"),
        *("Wingman Bar", "C++ Meetup #3 (2nd floor) & more!", "“Zum Löwen”", "Data: the bar", "🍕 Place"),
    ],
)
def test_places_are_places(text: str) -> None:
    """A place may be called and described in many ways."""
    assert rule_of(text, place=True) == ""


@pytest.mark.parametrize("text", ["!!!", "🍕", "- -"])
def test_place_without_letter_or_digit(text: str) -> None:
    """Nobody finds a place that has no name."""
    assert rule_of(text, place=True) == "letter"


@given(st.text(max_size=200))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    """No text makes a check fail in another way."""
    rule_of(text)
    rule_of(text, place=True)
