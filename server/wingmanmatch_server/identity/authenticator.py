"""One answer to "who calls?", out of whatever credentials a call carries."""

import hashlib
from dataclasses import dataclass
from typing import Any

import grpc

from wingmanmatch_server import errors
from wingmanmatch_server.identity.api_keys import PREFIX, ApiKey, ApiKeys
from wingmanmatch_server.identity.user_tokens import TokenInvalid, UserTokens, VerifiedToken
from wingmanmatch_server.interceptors.chain import Caller
from wingmanmatch_server.interceptors.door import Metadata

USER = "user"
MAX_CREDENTIAL = 8192  # characters; a longer one is not looked at
MAX_REMEMBERED = 10_000
SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Modes:
    """Which kinds of credentials are configured."""

    api_keys: bool
    user_tokens: bool
    certificates: bool

    def any(self) -> bool:
        """Tell whether callers can be told apart at all."""
        return self.api_keys or self.user_tokens or self.certificates


class Authenticator:
    """Knows callers by API key, by user token, or by the certificate of their connection, in this order."""

    def __init__(self, modes: Modes, keys: ApiKeys, tokens: UserTokens | None) -> None:
        self.modes = modes
        self._keys = keys
        self._tokens = tokens
        # Verifying a signature costs more than the rest of the edge together. By hash: a token is not kept.
        self._verified: dict[bytes, Caller] = {}

    async def identify(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Caller | None:
        """Return the caller, None if the call carries no credential. Raises errors.Unauthenticated for a bad one."""
        credential = _credential(context.invocation_metadata() or ())
        if credential is not None:
            return await self._by_credential(credential)
        return self._by_certificate(context) if self.modes.certificates else None

    def recognizes(self, metadata: Metadata) -> bool:
        """Tell whether a call's headers carry a known key or a token verified before.

        Where certificates are credentials, a call without headers is recognized: whoever is connected has one.
        """
        try:
            credential = _credential(metadata)
        except errors.Unauthenticated:
            return False
        if credential is None:
            return self.modes.certificates
        if credential.startswith(PREFIX):
            return self._keys.find(credential) is not None
        return self._remembered(_digest(credential)) is not None

    def trusts(self, caller: Caller) -> bool:
        """Tell whether the credential by which a caller was identified is still good."""
        credential = caller.credential
        if isinstance(credential, VerifiedToken):
            return self._tokens is not None and self._tokens.trusts(credential)
        return not isinstance(credential, ApiKey) or self._keys.holds(credential)

    async def _by_credential(self, credential: str) -> Caller:
        if credential.startswith(PREFIX):
            entry = self._keys.find(credential)
            if entry is not None:
                return Caller(
                    entry.name, scopes=entry.scopes, calls_per_second=entry.calls_per_second, credential=entry
                )
        elif self._tokens is not None and len(credential) <= MAX_CREDENTIAL:
            return await self._by_token(self._tokens, credential)
        raise invalid_credential()

    async def _by_token(self, tokens: UserTokens, token: str) -> Caller:
        digest = _digest(token)
        if remembered := self._remembered(digest):
            return remembered
        try:
            verified = await tokens.verify(token)
        except TokenInvalid:
            raise invalid_credential() from None
        if len(self._verified) >= MAX_REMEMBERED:
            self._verified.clear()
        caller = Caller(
            USER, user_id=verified.user_id, email=verified.email, expiry=verified.expiry, credential=verified
        )
        self._verified[digest] = caller
        return caller

    def _remembered(self, digest: bytes) -> Caller | None:
        caller = self._verified.get(digest)
        return caller if caller is not None and self.trusts(caller) else None

    def _by_certificate(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Caller | None:
        names = list(context.auth_context().get("x509_subject_alternative_name", ()))
        if not names:
            return None
        name = names[0].decode()
        entry = self._keys.entry_of_certificate(name)
        # An authority signs for many purposes: only an entry says that a certificate is for calling this server.
        if entry is None:
            return Caller(name)
        return Caller(name, scopes=entry.scopes, calls_per_second=entry.calls_per_second, credential=entry)


def invalid_credential() -> errors.Unauthenticated:
    """Return the one error of every credential that is missing, unknown, malformed, expired or forged."""
    return errors.Unauthenticated("CREDENTIAL_INVALID", "the call carries no valid credential")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _credential(metadata: Metadata) -> str | None:
    """Return what `authorization` carries, None without it. Raises errors.Unauthenticated if it is not one bearer."""
    found = [value for key, value in metadata if key == "authorization"]
    if not found:
        return None
    value = found[0]
    if len(found) > 1 or not isinstance(value, str) or not value.lower().startswith(SCHEME):
        raise invalid_credential()
    return value[len(SCHEME) :].strip()
