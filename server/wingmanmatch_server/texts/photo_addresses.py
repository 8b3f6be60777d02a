"""Addresses of pictures: https, on hosts that the operator has named.

Whoever sees a profile has the picture fetched by the app, and so tells its host their own address.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from wingmanmatch_server.texts.refused import TextRefused

HOST = re.compile(r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z][a-z0-9-]{0,61}[a-z0-9])")
_ADDRESS = re.compile(r"https://([A-Za-z0-9.-]+)(/[!-\[\]-~]*)", re.IGNORECASE)
# Encoded slashes and percent signs are segments to whoever decodes them once more.
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:[/?#;]|$)|%2f|%5c|%25", re.IGNORECASE)
STORAGE = "/storage/v1/"  # of Supabase, whose host has other addresses, too, which redirect to anywhere


class PhotoAddresses:
    """Which addresses of pictures are taken, and shown."""

    def __init__(self, hosts: Iterable[str], supabase_url: str | None) -> None:
        """`hosts` are names in lower case. The storage of the Supabase project is always among them."""
        project = urlsplit(supabase_url).hostname if supabase_url else None
        self._prefixes = (
            *(f"https://{host}/" for host in hosts),
            *([f"https://{project}{STORAGE}"] if project else ()),
        )

    def normal(self, address: str) -> str:
        """Return an address as it is stored: scheme and host in lower case. Raises TextRefused."""
        found = _ADDRESS.fullmatch(address)
        if found is None or _DOT_SEGMENT.search(found[2]):
            raise TextRefused("photo_url.form", "must be https://HOST/PATH, without user, port and dot segments")
        normal = f"https://{found[1].lower()}{found[2]}"
        if not normal.startswith(self._prefixes):
            raise TextRefused("photo_url.host", "must be on a host that the server allows for pictures")
        return normal

    def shown(self, stored: str) -> str:
        """Return what others see of a stored address: nothing, if its host is not or no longer allowed."""
        return stored if stored.startswith(self._prefixes) else ""
