"""The version of the product, and each file that states it.

python protos/versions.py   exit with 1 unless all of them state the same version
"""

import json
import re
import sys
from typing import Any

from changelog import CHANGELOG, Version, latest_release
from workspace import REPOSITORY

# hatch takes the version of the Python package from here.
SERVER = "server/wingmanmatch_server/__init__.py"
CLIENT = "clients/typescript/package.json"
CLIENT_LOCK = "clients/typescript/package-lock.json"
ASSIGNMENT = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)


def stated() -> dict[str, str | None]:
    """Return the version that each place states, None where there is none.

    The changelog's latest release is one of the places as soon as there is one.
    """
    found = ASSIGNMENT.search(_text(SERVER))
    lock = _json(CLIENT_LOCK)
    places = {
        SERVER: found[1] if found else None,
        CLIENT: _json(CLIENT).get("version"),
        CLIENT_LOCK: lock.get("version"),
        f"{CLIENT_LOCK} (its package)": lock["packages"][""].get("version"),
    }
    released = latest_release(CHANGELOG.read_text("utf-8"))
    return places | ({"CHANGELOG.md": str(released)} if released else {})


def agreed() -> Version:
    """Return the version that all places state.

    Raise SystemExit, which lists what each states, if they differ or state none that reads x.y.z.
    """
    places = stated()
    if len(set(places.values())) > 1:
        listed = ", ".join(f"{place}: {version or 'none'}" for place, version in places.items())
        raise SystemExit(f"The version must be the same everywhere, and is not ({listed}).")
    version = Version.parse(places[SERVER] or "")
    if version is None:
        raise SystemExit(f"The version must be three numbers, x.y.z, and is {places[SERVER] or 'not stated'}.")
    return version


def write(version: Version) -> None:
    """State `version` in each place but the changelog."""
    server = ASSIGNMENT.sub(f'__version__ = "{version}"', _text(SERVER))
    lock = _json(CLIENT_LOCK)
    lock["packages"][""]["version"] = str(version)
    (REPOSITORY / SERVER).write_text(server, "utf-8")
    _write_json(CLIENT, _json(CLIENT) | {"version": str(version)})
    _write_json(CLIENT_LOCK, lock | {"version": str(version)})


def _text(place: str) -> str:
    return (REPOSITORY / place).read_text("utf-8")


def _json(place: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(_text(place))
    return read


def _write_json(place: str, content: dict[str, Any]) -> None:
    """Write JSON as npm does, so that only the version differs."""
    (REPOSITORY / place).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    agreed()
    sys.exit(0)
