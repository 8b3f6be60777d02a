"""Email addresses: which are taken, and in which form they are kept and sent."""

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from wingmanmatch_server.texts.refused import TextRefused

_ENCODED_WORD = "=?"  # RFC 2047; mail programs would decode what follows, and show another address


def check_email_address(text: str) -> None:
    """Raise TextRefused if no provider would send an email to `text`. The domain is not looked up."""
    _validated(text)


def normal_email_address(text: str) -> str:
    """Return the address with its domain in lower case and in ASCII, as SMTP wants it. Raises TextRefused."""
    address = _validated(text)
    assert address.ascii_domain is not None
    return f"{address.local_part}@{address.ascii_domain}"


def same_email_address(one: str, other: str) -> bool:
    """Tell whether two addresses are of one mailbox: in practice case does not matter. Raises TextRefused."""
    return normal_email_address(one).casefold() == normal_email_address(other).casefold()


def _validated(text: str) -> ValidatedEmail:
    try:
        address = validate_email(text, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError:
        raise TextRefused("email_address.invalid", "must be an email address, such as ann@example.org") from None
    if _ENCODED_WORD in address.local_part:
        raise TextRefused("email_address.invalid", "must be an email address without encoded words")
    return address
