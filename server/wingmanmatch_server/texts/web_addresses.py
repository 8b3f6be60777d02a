"""Finds what mail programs and browsers would make a link of, in text that is to have none."""

import re
import unicodedata

# A sentence that lacks the space after its full stop reads as a domain, too; nobody can tell them apart.
_DOMAIN = r"[^\W_][\w-]*(?:\.[\w-]+)*\.(?:[^\W\d_]{2,63}|xn--[a-z0-9-]+)(?=$|[^\w'\u2019.-]|\.(?:$|\W))"
_LINK = re.compile(
    rf"://|\b(?:mailto|javascript|data|tel|sms|https?|ftp|file|whatsapp|skype):(?=\S)|\bwww\.|@[^\s@]+\.|"
    rf"\b\d{{1,3}}(?:\.\d{{1,3}}){{3}}\b|{_DOMAIN}"
)
# Those that browsers read as the dot of a domain, beyond what NFKC makes one.
_DOTS = str.maketrans({"\u3002": ".", "\uff61": "."})


def has_link(text: str) -> bool:
    """Tell whether `text` holds a URL, a domain, an IPv4 address or an email address, in any width of letters."""
    return _LINK.search(unicodedata.normalize("NFKC", text).translate(_DOTS).casefold()) is not None
