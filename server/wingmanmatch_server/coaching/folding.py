"""Brings a text into the forms in which safety patterns look for what it means, however it is spelt.

The plain form undoes what a keyboard, a font or a habit does: width and style of letters (NFKC), case, diacritics,
invisible characters, apostrophes, repeated letters. Where a text may be disguised there are further forms: digits and
symbols for letters, letters of another script that look alike, and letters written apart or words written together.
Every step takes time in proportion to the text's length.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache

from confusable_homoglyphs import confusables

# Characters that are not seen: controls of format, fillers, selectors, tags.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\U000e0000-\U000e0fff]"
)
_ACCENTS = re.compile("[\u0300-\u036f\u0483-\u0489\u20d0-\u20f0]")
_APOSTROPHES = re.compile("['\u2019\u2018\u201b`\u00b4\u02bc\u02b9\u2032\uff07]")
_ENDS = re.compile(r"[.!?…。;:\n]+")  # of sentences, unless within a word
_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")  # in the middle of a sentence, perhaps
_NO_WORD = re.compile(r"[^\w*.\u3099\u309a]+|_+")
_REPEATED = re.compile(r"([^\W\d])\1+")
_LETTERS_APART = re.compile(r"(?<!\w)[^\W\d](?:[^\w\n]{1,3}[^\W\d](?!\w)){2,}")
_LONG_WORD = re.compile(r"[^\W\d]{9,}")
_DISGUISE = re.compile(r"[\d@$!|€+]")
# Letters that Unicode finds alike only to small capitals, or not at all, and people use all the same.
_ALIKE_ENOUGH = str.maketrans("кκтτмнвηиипγдѕшщ", "kkttmhbnnunydsww")
_LETTER = re.compile(r"[^\W\d]")
_JAPANESE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_LEET = str.maketrans("013457@$!|€+", "oieastasiiet")
_LEET_L = _LEET | str.maketrans("1!|", "lll")  # a 1 may be either
_SPELLING = str.maketrans({"ß": "ss", "\u0131": "i", "ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "đ": "d"})


def forms(text: str) -> Iterator[str]:
    """Yield the forms of a text that differ, the plain one first. Words in them stand between single blanks."""
    seen = set()
    for form in _forms(text):
        if form not in seen:
            seen.add(form)
            yield form


def _forms(text: str) -> Iterator[str]:
    spelt = letters(text)
    yield words(spelt)
    alike = spelt if spelt.isascii() else spelt.translate(_look_alikes())
    if alike != spelt:
        yield words(alike)
    if _DISGUISE.search(alike):
        for table in (_LEET, _LEET_L):
            yield words(" ".join(_undisguised(word, table) for word in alike.split(" ")))


def together(text: str) -> str:
    """Return what may be hidden in letters written apart and in words written together, each without blanks."""
    spelt = letters(text).replace("_", " ")
    apart = ["".join(_LETTER.findall(match[0])) for match in _LETTERS_APART.finditer(spelt)]
    return words(" . ".join([*apart, *_LONG_WORD.findall(spelt)]))


def japanese(text: str) -> str:
    """Return a text without blanks and punctuation if it has Japanese letters, nothing otherwise."""
    if not _JAPANESE.search(text):
        return ""
    return _REPEATED.sub(r"\1", re.sub(r"[^\w.]+|_+", "", _ENDS.sub(_end, letters(text))))


def letters(text: str) -> str:
    """Return a text in small letters of one width and style, without accents and unseen characters."""
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKC", text)).casefold().translate(_SPELLING)
    if plain.isascii():
        return plain
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", plain)))


def words(spelt: str) -> str:
    """Return letters as words between single blanks; repeated letters are one.

    The word `.` ends a sentence, and so the whole.
    """
    plain = _ENDS.sub(_end, _LINE_BREAK.sub(" ", _APOSTROPHES.sub("", spelt)) + "\n")
    return f" {' '.join(squeezed(_NO_WORD.sub(' ', plain)).split())} "


def squeezed(text: str) -> str:
    """Return a text with one letter where the same follows itself."""
    return _REPEATED.sub(r"\1", text)


def _end(match: re.Match[str]) -> str:
    """Return the end of a sentence, or what stands within a word as it is."""
    start, end = match.span()
    within = (
        end - start == 1 and start > 0 and match.string[start - 1].isalnum() and match.string[end : end + 1].isalnum()
    )
    return match[0] if within and match[0] in ".:" else " . "


def _undisguised(word: str, table: Mapping[int, int]) -> str:
    bare = word.rstrip("!?.,|+")  # these end words, too
    return bare.translate(table) + word[len(bare) :] if _LETTER.search(bare) else word


@cache
def _look_alikes() -> dict[int, str]:
    """Return a small Latin letter for each character of another script that looks like it."""
    table = {}
    for character, others in confusables.confusables_data.items():
        if len(character) == 1 and not character.isascii():
            latin = next((other["c"] for other in others if _is_latin(other["c"])), None)
            if latin is not None:
                table[ord(character)] = latin.lower()
    return table | _ALIKE_ENOUGH


def _is_latin(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text.isalpha()
