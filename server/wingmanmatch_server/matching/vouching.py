"""Who vouches for the email address in a profile."""

from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Caller
from wingmanmatch_server.texts.email_addresses import normal_email_address, same_email_address
from wingmanmatch_server.texts.refused import TextRefused

FIELD = "profile.email"


def vouched_email(caller: Caller, given: str) -> str:
    """Return the address to store in a profile, in the form that is kept. `given` is valid, or empty.

    A user's token vouches for the verified address in its claims and for no other; that one is stored, whether it is
    given or not. Backends vouch for what they give. Raises errors.InvalidArgument: EMAIL_NOT_VERIFIED, FIELD_INVALID.
    """
    if caller.user_id is not None:
        return _own_email(caller.email, given)
    if not given:
        raise errors.InvalidArgument([errors.FieldViolation(FIELD, "email.required", "must be given by a backend")])
    return normal_email_address(given)


def _own_email(verified: str, given: str) -> str:
    try:
        if given and not same_email_address(verified, given):
            raise _not_verified("must be the verified email address of the user's token, or empty")
        return normal_email_address(verified)
    except TextRefused:
        raise _not_verified("cannot be set: the user's token has no verified email address that can be used") from None


def _not_verified(description: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        [errors.FieldViolation(FIELD, "email.verified", description)], reason="EMAIL_NOT_VERIFIED"
    )
