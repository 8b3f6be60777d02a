"""The secrets under which links are signed, page tokens sealed and digests keyed."""

import os
import secrets
import tempfile
from contextlib import suppress

from wingmanmatch_server.settings import Settings


def signing_secrets(settings: Settings) -> list[str]:
    """Return those of SIGNING_SECRET, or the one that was made in development and kept in the data folder.

    The first is for what is made now, all are accepted. Raises OSError if the data folder cannot keep one.
    """
    if settings.signing_secrets:
        return settings.signing_secrets
    path = settings.data_dir / "signing-secret"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="ascii") as file, suppress(FileExistsError):
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.link(file.name, path)  # so that no process ever reads half of it, or another one
    return [path.read_text("ascii")]
