"""Write `docs/configuration.md` from the settings themselves.

python docs/generate_configuration.py
"""  # noqa: INP001 - a program, not a package

import types
import typing
from enum import StrEnum
from pathlib import Path

from pydantic.fields import FieldInfo

from wingmanmatch_server.secret_files import is_secret
from wingmanmatch_server.settings import REQUIRED_IN_PRODUCTION, Settings

TARGET = Path(__file__).with_name("configuration.md")
HEAD = """# Settings

<!-- Written by docs/generate_configuration.py from server/wingmanmatch_server/settings.py: change that instead. -->

Each setting is an environment variable, or a line of `.env` in the working directory; the environment wins, and an
empty value counts as none. All problems are reported at once when a command starts, and never with the value.
`wingmanmatch doctor` says whether what the settings lead to works.

A secret may be in a file instead, as container platforms mount them: the variable of its name and `_FILE`, such as
`SIGNING_SECRET_FILE=/run/secrets/signing`, is the file's path. The file is read when a command starts, in UTF-8; one
line break at its end does not count. It is an error if the file cannot be read or is empty, and if both variables are
set. `REDIS_PASSWORD_FILE` and `DATABASE_PASSWORD_FILE` are settings of their own, read for each new connection.

| variable | default | values | what it does |
|---|---|---|---|
"""


def render() -> str:
    """Return the page."""
    return HEAD + "".join(row(name, field) for name, field in Settings.model_fields.items())


def row(name: str, field: FieldInfo) -> str:
    """Return a setting's line of the table."""
    notes = [field.description or ""]
    if name in REQUIRED_IN_PRODUCTION:
        notes.append("**Required in production.**")
    accepted = f"secret, or `{name.upper()}_FILE`" if is_secret(field) else values(field)
    cells = [f"`{name.upper()}`", default(field), accepted, " ".join(notes)]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def default(field: FieldInfo) -> str:
    """Return the default as one would write it."""
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return "none" if field.default in (None, "") else f"`{field.default}`"


def values(field: FieldInfo) -> str:
    """Return what is accepted."""
    kind = next(each for each in _alternatives(field.annotation) if each is not types.NoneType)
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(f"`{value}`" for value in kind)
    if kind in (int, float):
        return interval(field, kind)
    return {Path: "path", bool: "`true`, `false`"}.get(kind, "text")


def interval(field: FieldInfo, kind: type) -> str:
    """Return the range of a number."""
    limits = {
        name: getattr(each, name) for each in field.metadata for name in ("gt", "ge", "le") if hasattr(each, name)
    }
    low = f"above {limits['gt']}" if "gt" in limits else f"from {limits['ge']}"
    noun = "whole number" if kind is int else "number"
    return f"{noun} {low}" + (f" to {limits['le']}" if "le" in limits else "")


def _alternatives(annotation: typing.Any) -> tuple[typing.Any, ...]:
    return typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)


if __name__ == "__main__":
    TARGET.write_text(render(), "utf-8")
