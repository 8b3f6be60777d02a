"""ChallengeService: translates between the wire, the catalogue and the store."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from wingmanmatch.challenge.v1 import challenge_pb2, challenge_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.challenge.catalogue import Catalogue
from wingmanmatch_server.challenge.store import ChallengeStore
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.paging import invalid_page_token, last_id_of, page_token
from wingmanmatch_server.share_links import DEFAULT_TTL_SECONDS, ShareLinks
from wingmanmatch_server.wire import timestamp

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
CHALLENGE_FIELDS = frozenset(challenge_pb2.Challenge.DESCRIPTOR.fields_by_name)

Json = dict[str, Any]


class ChallengeService:
    """Each method is the RPC of its name; `challenge_service.proto` has the contract."""

    def __init__(self, store: ChallengeStore, catalogue: Catalogue, links: ShareLinks) -> None:
        self._store = store
        self._catalogue = catalogue
        self._links = links

    async def list_challenges(
        self, request: challenge_service_pb2.ListChallengesRequest, _call: Call
    ) -> challenge_service_pb2.ListChallengesResponse:
        """List the catalogue."""
        difficulty = _difficulty(request.difficulty)
        after = last_id_of(request.page_token, difficulty)
        listed = [each for each in await self._catalogue.challenges() if difficulty in (None, each["difficulty"])]
        page, next_after = _page(listed, after, _page_size(request.page_size))
        return challenge_service_pb2.ListChallengesResponse(
            challenges=map(_challenge, page), next_page_token=page_token(next_after, difficulty)
        )

    async def get_challenge(
        self, request: challenge_service_pb2.GetChallengeRequest, _call: Call
    ) -> challenge_service_pb2.GetChallengeResponse:
        """Return a challenge of the catalogue."""
        challenge_id = str(uuid.UUID(request.challenge_id))
        for each in await self._catalogue.challenges():
            if each["id"] == challenge_id:
                return challenge_service_pb2.GetChallengeResponse(challenge=_challenge(each))
        metadata = {"challenge_id": challenge_id}
        raise errors.NotFound("CHALLENGE_NOT_FOUND", "no such challenge is in the catalogue", metadata)

    async def start_challenge(
        self, request: challenge_service_pb2.StartChallengeRequest, _call: Call
    ) -> challenge_service_pb2.StartChallengeResponse:
        """Take a challenge on."""
        answer = await self._store.start(request.user_id, request.challenge_id, request_id=request.request_id or None)
        return challenge_service_pb2.StartChallengeResponse(user_challenge=_user_challenge(answer["user_challenge"]))

    async def submit_challenge(
        self, request: challenge_service_pb2.SubmitChallengeRequest, _call: Call
    ) -> challenge_service_pb2.SubmitChallengeResponse:
        """Submit a challenge."""
        answer = await self._store.submit(
            request.user_challenge_id,
            request.user_id,
            notes=request.notes,
            request_id=request.request_id or None,
        )
        return challenge_service_pb2.SubmitChallengeResponse(
            user_challenge=_user_challenge(answer["user_challenge"]), total_points=answer["total_points"]
        )

    async def list_user_challenges(
        self, request: challenge_service_pb2.ListUserChallengesRequest, _call: Call
    ) -> challenge_service_pb2.ListUserChallengesResponse:
        """List what a person took on."""
        states = sorted(map(_state, request.states))
        answer = await self._store.list_of_user(
            request.user_id,
            states=states or None,
            page_size=_page_size(request.page_size),
            after=last_id_of(request.page_token, request.user_id, states),
        )
        return challenge_service_pb2.ListUserChallengesResponse(
            user_challenges=map(_user_challenge, answer["user_challenges"]),
            next_page_token=page_token(answer["next_after"], request.user_id, states),
            total_points=answer["total_points"],
        )

    async def share_challenge(
        self, request: challenge_service_pb2.ShareChallengeRequest, _call: Call
    ) -> challenge_service_pb2.ShareChallengeResponse:
        """Make a link."""
        self._links.check_enabled()
        ttl = request.ttl.ToTimedelta().total_seconds() if request.HasField("ttl") else DEFAULT_TTL_SECONDS
        answer = await self._store.share(
            request.user_challenge_id,
            request.user_id,
            ttl_seconds=ttl,
            request_id=request.request_id or None,
        )
        return challenge_service_pb2.ShareChallengeResponse(share_link=self._share_link(answer["share_link"]))

    async def resolve_share_link(
        self, request: challenge_service_pb2.ResolveShareLinkRequest, _call: Call
    ) -> challenge_service_pb2.ResolveShareLinkResponse:
        """Return what a link shows."""
        answer = await self._store.get_shared(self._links.link_id(request.token))
        shown = answer["shared_challenge"]
        return challenge_service_pb2.ResolveShareLinkResponse(
            shared_challenge=challenge_pb2.SharedChallenge(
                first_name=shown["first_name"],
                challenge=_challenge(shown["challenge"]),
                state=challenge_pb2.UserChallengeState.Value(f"USER_CHALLENGE_STATE_{shown['state']}"),
            )
        )

    async def revoke_share_link(
        self, request: challenge_service_pb2.RevokeShareLinkRequest, _call: Call
    ) -> challenge_service_pb2.RevokeShareLinkResponse:
        """End a link, even where no new ones are made."""
        await self._store.revoke(request.share_link_id, request.user_id, request_id=request.request_id or None)
        return challenge_service_pb2.RevokeShareLinkResponse()

    def _share_link(self, row: Json) -> challenge_pb2.ShareLink:
        return challenge_pb2.ShareLink(
            id=row["id"],
            token=self._links.token(row["id"]),
            create_time=_moment(row["create_time"]),
            expire_time=_moment(row["expire_time"]),
        )


def _page(listed: Sequence[Json], after: str | None, size: int) -> tuple[Sequence[Json], str | None]:
    """Return those of the list behind `after`, at most `size`, and after which the next page begins."""
    start = 0
    if after is not None:
        start = next((place + 1 for place, each in enumerate(listed) if each["id"] == after), 0)
        if not start:
            raise invalid_page_token()
    page = listed[start : start + size]
    return page, page[-1]["id"] if start + size < len(listed) else None


def _page_size(asked: int) -> int:
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _difficulty(value: challenge_pb2.ChallengeDifficulty.ValueType) -> str | None:
    return challenge_pb2.ChallengeDifficulty.Name(value).removeprefix("CHALLENGE_DIFFICULTY_") if value else None


def _state(value: challenge_pb2.UserChallengeState.ValueType) -> str:
    return challenge_pb2.UserChallengeState.Name(value).removeprefix("USER_CHALLENGE_STATE_")


def _challenge(row: Json) -> challenge_pb2.Challenge:
    # A newer server, or the schema that came with it, may have added fields of its own.
    known = {name: row[name] for name in row.keys() & CHALLENGE_FIELDS}
    return challenge_pb2.Challenge(**known | {"difficulty": f"CHALLENGE_DIFFICULTY_{row['difficulty']}"})


def _user_challenge(row: Json) -> challenge_pb2.UserChallenge:
    return challenge_pb2.UserChallenge(
        **{
            **row,
            "challenge": _challenge(row["challenge"]),
            "state": f"USER_CHALLENGE_STATE_{row['state']}",
            "create_time": _moment(row["create_time"]),
            "submit_time": _moment(row["submit_time"]),
            "expire_time": _moment(row["expire_time"]),
        }
    )


def _moment(text: str | None) -> Timestamp | None:
    return timestamp(datetime.fromisoformat(text)) if text else None
