"""A Supabase project that signs tokens of users and publishes its keys."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from support.apis import serving
from wingmanmatch_server.identity.published_keys import ISSUER_PATH, PATH

SIGNING_KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("current", "stolen")}


class Project:
    """The project: `published` names the keys in its key set."""

    def __init__(self) -> None:
        self.url = ""
        self.published: Sequence[str] = tuple(SIGNING_KEYS)
        self.asked = 0

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> "AsyncIterator[Project]":
        """Serve a project's key set and yield the project."""
        project = cls()
        async with serving("GET", PATH, project._answer) as project.url:
            yield project

    def token(self, user_id: str, key: str = "current", **changes: Any) -> str:
        """Return a token of a user, valid for ten minutes but for the changes; None leaves a claim out."""
        now = int(time.time())
        claims = {
            "sub": user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "iss": self.url + ISSUER_PATH,
            "iat": now,
            "exp": now + 600,
        }
        kept = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(kept, SIGNING_KEYS[key], algorithm="ES256", headers={"kid": key})

    async def _answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"keys": [_published(name) for name in self.published]})


def _published(name: str) -> dict[str, Any]:
    form: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(SIGNING_KEYS[name].public_key()))
    return form | {"kid": name, "alg": "ES256", "use": "sig"}
