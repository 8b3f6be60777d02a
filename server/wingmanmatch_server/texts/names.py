"""Names of people and of places: what may stand in them."""

import unicodedata

from wingmanmatch_server.texts.impersonation import impersonates
from wingmanmatch_server.texts.refused import TextRefused
from wingmanmatch_server.texts.web_addresses import has_link

# Beside letters, marks, decimal digits, spaces and dashes: every apostrophe that keyboards and languages have, and the
# dots in the middle of Catalan and Japanese names.
_NAME_SIGNS = frozenset(".,'`()\u2019\u2018\u02bb\u02bc\u00b4\u2032\u00b7\u30fb")
_NAME_CATEGORIES = ("L", "M", "Nd", "Zs", "Pd")
_UNSEEN_CATEGORIES = ("C", "Zl", "Zp")
# Letters by their category that show nothing: Hangul fillers.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")
_JOINERS = frozenset("\u200c\u200d")  # which Persian, Hindi and others need within a word
_WITHOUT_JOINERS = ("LATIN", "GREEK", "CYRILLIC")


def check_person_name(text: str) -> None:
    """Raise TextRefused if `text` is no name of a person: see docs/identity.md, "Names"."""
    _check_characters(text, "person_name")
    if has_link(text):
        raise TextRefused("person_name.link", "must not hold an address of a web page or an email address")
    if any(not _stands_in_names(character) for character in text):
        raise TextRefused(
            "person_name.character", "may have letters, digits, spaces, hyphens, apostrophes, dots and commas only"
        )
    if not any(_is_letter(character) for character in text):
        raise TextRefused("person_name.letter", "must have a letter")
    if impersonates(text):
        raise TextRefused("person_name.reserved", "must not look like a name of WingmanMatch or of its staff")


def check_place_name(text: str) -> None:
    """Raise TextRefused if `text` is no name of a place: see docs/identity.md, "Names"."""
    _check_characters(text, "place_name")
    if has_link(text):
        raise TextRefused("place_name.link", "must not hold an address of a web page or an email address")
    if not any(_is_letter(character) or character.isdecimal() for character in text):
        raise TextRefused("place_name.letter", "must have a letter or a digit")


def _check_characters(text: str, kind: str) -> None:
    """Refuse what is not seen, or changes what is seen around it."""
    for position, character in enumerate(text):
        unseen = character in _BLANK_LETTERS or unicodedata.category(character).startswith(_UNSEEN_CATEGORIES)
        if unseen and not _joins(text, position):
            raise TextRefused(f"{kind}.invisible", "must not have control characters or characters that do not show")


def _joins(text: str, position: int) -> bool:
    """Tell whether the character joins or parts two letters of a script that writes so."""
    if text[position] not in _JOINERS or not 0 < position < len(text) - 1:
        return False
    return all(
        unicodedata.category(beside)[0] in "LM" and not unicodedata.name(beside, "").startswith(_WITHOUT_JOINERS)
        for beside in (text[position - 1], text[position + 1])
    )


def _stands_in_names(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith(_NAME_CATEGORIES) or character in _NAME_SIGNS or character in _JOINERS


def _is_letter(character: str) -> bool:
    return unicodedata.category(character).startswith("L") and character not in _BLANK_LETTERS
