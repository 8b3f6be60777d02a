"""Finds what mail programs and browsers would make a link of, in text that is to have none."""

import re
import unicodedata

_LINK = re.compile(
    r"://|\b(?:mailto|javascript|data|tel|sms|https?|ftp|file|whatsapp|skype):(?=\S)|\bwww\.|@[^\s@]+\.|"
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b"
)
_RUN = re.compile(r"[\w.-]+")
_TOP_LEVEL = re.compile(r"[^\W\d_]{2,63}|xn--[a-z0-9-]+")
_AROUND = ".-_"
# Those that browsers read as the dot of a domain, beyond what NFKC makes one.
_DOTS = str.maketrans({"\u3002": ".", "\uff61": "."})


def has_link(text: str) -> bool:
    """Tell whether `text` holds a URL, a domain, an IPv4 address or an email address, in any width of letters.

    Takes time in proportion to the length of the text, whatever it is.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_DOTS).casefold()
    # Marks are parts of letters in many scripts, and no letters to `\w`.
    plain = "".join(character for character in plain if not unicodedata.category(character).startswith("M"))
    return _LINK.search(plain) is not None or any(_is_domain(run.strip(_AROUND)) for run in _RUN.findall(plain))


def _is_domain(run: str) -> bool:
    # A sentence that lacks the space after its full stop reads as a domain, too; nobody can tell them apart.
    before, _, last = run.rpartition(".")
    return bool(before) and not before.endswith(".") and _TOP_LEVEL.fullmatch(last) is not None
