"""Shows links in people's words without letting any mail client make a link of them.

Libraries that find links decide by lists of schemes and top-level domains what is one. This has to break whatever some
client might take for one, so it knows no list of domains and rather breaks too much: `Dr.Mayer` too.
"""

import re
import unicodedata

# Characters that show nothing: clients and resolvers may drop them, so that a link can be hidden with them.
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0"
)
# What resolvers and browsers take for a dot, a colon, a slash.
_DOTS = ".\u2024\u3002\ufe52\uff0e\uff61"
_COLONS = ":\ufe55\uff1a"
_SLASHES = "/\\\\\u2044\u2215\uff0f\uff3c"
_SCHEMES = (
    "https?|ftps?|file|mailto|tel|sms|data|javascript|vbscript|callto|sip|skype|facetime|whatsapp|tg|signal|geo|maps|"
    "market|intent|bitcoin|magnet|xmpp|webcal|ms-[a-z]+"
)
_MIN_OCTETS = 4
_MIN_LETTERS = 2

_UNSEEN_ANY = re.compile(f"[{_UNSEEN}]")
_DOT = re.compile(f"[{_DOTS}]")
# `http://`, with whatever name before it.
_BEFORE_SLASHES = re.compile(f"[{_UNSEEN}]*[{_COLONS}][{_UNSEEN}]*(?=[{_SLASHES}][{_UNSEEN}]*[{_SLASHES}])")
_AFTER_SCHEME = re.compile(rf"\b({_SCHEMES})[{_UNSEEN}]*[{_COLONS}][{_UNSEEN}]*(?=\S)", re.IGNORECASE)
# `\\server\share`, `//server/share`.
_SHARE = re.compile(r"(?<!\S)(\\\\|//)(?=\S)")
# Labels of a domain with dots between them: whatever is not space, nor punctuation that ends a domain.
_LABEL = rf"[^\s!-,/:-@\[-^`{{-~{_DOTS}{_COLONS}{_SLASHES}]+"
_DOMAIN = re.compile(f"{_LABEL}(?:[{_DOTS}]{_LABEL})+")


def defang(text: str) -> str:
    """Return `text` with `:` as `[:]` and `.` as `[.]` where it may be a part of a link: http[:]//evil[.]example.

    Links, domains (international ones too), addresses of email and IPv4, and paths of shares are broken; numbers,
    times, dates and ends of sentences stay as they are. A second time changes nothing.
    """
    text = _BEFORE_SLASHES.sub("[:]", text)
    text = _AFTER_SCHEME.sub(r"\1[:]", text)
    text = _SHARE.sub(lambda share: f"[{share[0]}]", text)
    return _DOMAIN.sub(_without_dots, text)


def _without_dots(domain: re.Match[str]) -> str:
    labels = _DOT.split(domain[0])
    broken = _broken_dots(labels)
    dots = _DOT.findall(domain[0])
    ends = ["[.]" if place < broken else dot for place, dot in enumerate(dots)]
    return "".join(part for pair in zip(labels, [*ends, ""], strict=True) for part in pair)


def _broken_dots(labels: list[str]) -> int:
    """Return how many dots, from the first on, may belong to a link."""
    if len(labels) >= _MIN_OCTETS and all(label.isdigit() for label in labels[:_MIN_OCTETS]):
        return len(labels) - 1
    return max((place for place, label in enumerate(labels) if place and _may_be_top(label)), default=0)


def _may_be_top(label: str) -> bool:
    """Return whether a label may end a domain: it begins with two characters that are no digits."""
    start = unicodedata.normalize("NFKC", _UNSEEN_ANY.sub("", label))[:_MIN_LETTERS]
    return len(start) == _MIN_LETTERS and not any(each.isdigit() or each in "-_" for each in start)
