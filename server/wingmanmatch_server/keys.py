"""`wingmanmatch keys create`: what it prints."""

from collections.abc import Sequence

from wingmanmatch_server.identity.api_keys import create_key


def describe_new_key(name: str, scopes: Sequence[str], secret: str) -> str:
    """Return the new key, for the only time, and the entry by which the server knows it. Raises ApiKeyError."""
    key, entry = create_key(name, scopes, secret)
    return "\n".join(
        (
            f"The key of {name}. Give it to the calling back end now; it is not stored anywhere:",
            "",
            f"  {key}",
            "",
            "The entry for API_KEYS or a line of the file that API_KEYS_FILE names; it is no secret:",
            "",
            f"  {entry.line()}",
            "",
            "The back end sends it with every call:",
            "",
            f"  authorization: Bearer {key[:8]}…",
        )
    )
