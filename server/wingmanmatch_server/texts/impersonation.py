"""Names that pass themselves off as WingmanMatch or its staff.

A name is compared by its skeleton: what is left of it once letters that look alike, digits in place of letters, marks,
spaces and signs are taken out of account. Whoever reads the name in an email sees little of that either.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache

from confusable_homoglyphs import confusables

_BRAND = "wingman"
# One of these is enough.
_STAFF = (
    *("admin", "admins", "administrator", "administration", "moderator", "moderators", "moderation"),
    *("support", "helpdesk", "noreply", "postmaster", "kundenservice", "kundendienst", "kundensupport", "verwaltung"),
)
# Some people are called so: it takes two.
_STAFF_TOGETHER = (
    "account",
    "billing",
    "care",
    "customer",
    "help",
    "hilfe",
    "konto",
    "official",
    "security",
    "service",
    "sicherheit",
    "staff",
    "system",
    "team",
)
# `l` is read for `i`, since a capital I is drawn as a small l.
_READ_AS = str.maketrans("0123456789@$!|ij", "olzeasgtbgasllll")
_PAIRS = (("vv", "w"), ("uu", "w"), ("rn", "m"))
# What Unicode's table and names lack, of Cyrillic, Armenian, Greek and Latin.
_MORE_LOOKALIKES = {"\u043f": "n", "\u0578": "n", "\u0448": "w", "\u03c9": "w", "\u014b": "n"}
_VARIANT = re.compile(r"LATIN (?:SMALL LETTER|CAPITAL LETTER|LETTER SMALL CAPITAL) ([A-Z])(?: WITH .+)?")


def impersonates(name: str) -> bool:
    """Tell whether a name reads as ours: it has our name in it, or is made of words for staff, such as `Admin Team`."""
    whole = skeleton(name)
    staff = frozenset(skeleton(word) for word in _STAFF)
    words = {skeleton(word.rstrip("0123456789")) for word in re.split(r"[^\w@$!|]+", name)}
    return (
        skeleton(_BRAND) in whole or whole in staff or bool(words & staff) or _two_words().fullmatch(whole) is not None
    )


def skeleton(text: str) -> str:
    """Return what `text` looks like: Latin letters in lower case where it has any that look so, and nothing between."""
    looks = "".join(_look_of(character) for character in unicodedata.normalize("NFKD", text))
    letters = "".join(character for character in looks.lower().translate(_READ_AS) if character.isalnum())
    for pair, letter in _PAIRS:
        letters = letters.replace(pair, letter)
    return letters


def _look_of(character: str) -> str:
    """Return the ASCII letter that a character, or its capital, looks like; itself if there is none."""
    for form in (character, character.upper(), character.lower()):
        if form.isascii():
            return form
        if form in _lookalikes():
            return _lookalikes()[form]
    variant = _VARIANT.fullmatch(unicodedata.name(character, ""))
    return variant[1] if variant else character


@cache
def _lookalikes() -> Mapping[str, str]:
    """Return the ASCII letter or digit that other characters look like, by Unicode's table of confusables."""
    table = dict(_MORE_LOOKALIKES)
    for character, alike in confusables.confusables_data.items():
        ascii_ones = [
            each["c"] for each in alike if len(each["c"]) == 1 and each["c"].isascii() and each["c"].isalnum()
        ]
        if not character.isascii() and ascii_ones:
            table[character] = ascii_ones[0]
    return table


@cache
def _two_words() -> re.Pattern[str]:
    words = "|".join(skeleton(word) for word in (*_STAFF, *_STAFF_TOGETHER))
    return re.compile(f"(?:{words}){{2,}}")
