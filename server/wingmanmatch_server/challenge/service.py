"""ChallengeService: translates between the wire, the catalogue and the store."""

import uuid
from collections.abc import Sequence

from wingmanmatch.challenge.v1 import challenge_pb2, challenge_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.challenge.catalogue import Catalogue
from wingmanmatch_server.challenge.rows import Challenge, SharedChallenge, UserChallenge
from wingmanmatch_server.challenge.store import ChallengeStore
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.paging import PageTokens, Position
from wingmanmatch_server.share_links import DEFAULT_TTL_SECONDS, ShareLink, ShareLinks
from wingmanmatch_server.wire import short_names, timestamp

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
DIFFICULTY, STATE = "CHALLENGE_DIFFICULTY_", "USER_CHALLENGE_STATE_"
DIFFICULTIES = short_names(challenge_pb2.ChallengeDifficulty.items(), DIFFICULTY)
STATES = short_names(challenge_pb2.UserChallengeState.items(), STATE)


class ChallengeService:
    """Each method is the RPC of its name; `challenge_service.proto` has the contract."""

    def __init__(self, store: ChallengeStore, catalogue: Catalogue, links: ShareLinks, pages: PageTokens) -> None:
        self._store = store
        self._catalogue = catalogue
        self._links = links
        self._pages = pages

    async def list_challenges(
        self, request: challenge_service_pb2.ListChallengesRequest, _call: Call
    ) -> challenge_service_pb2.ListChallengesResponse:
        """List the catalogue."""
        difficulty = _difficulty(request.difficulty)
        asked = ("ListChallenges", difficulty)
        after = self._pages.open(request.page_token, *asked)
        listed = [each for each in await self._catalogue.challenges() if difficulty in (None, each.difficulty)]
        page, position = _page(listed, after, _page_size(request.page_size))
        return challenge_service_pb2.ListChallengesResponse(
            challenges=map(_challenge, page), next_page_token=self._pages.seal(position, *asked)
        )

    async def get_challenge(
        self, request: challenge_service_pb2.GetChallengeRequest, _call: Call
    ) -> challenge_service_pb2.GetChallengeResponse:
        """Return a challenge of the catalogue."""
        challenge_id = str(uuid.UUID(request.challenge_id))
        for each in await self._catalogue.challenges():
            if each.id == challenge_id:
                return challenge_service_pb2.GetChallengeResponse(challenge=_challenge(each))
        metadata = {"challenge_id": challenge_id}
        raise errors.NotFound("CHALLENGE_NOT_FOUND", "no such challenge is in the catalogue", metadata)

    async def start_challenge(
        self, request: challenge_service_pb2.StartChallengeRequest, _call: Call
    ) -> challenge_service_pb2.StartChallengeResponse:
        """Take a challenge on."""
        attempt = await self._store.start(request.user_id, request.challenge_id, request_id=request.request_id or None)
        return challenge_service_pb2.StartChallengeResponse(user_challenge=_user_challenge(attempt))

    async def submit_challenge(
        self, request: challenge_service_pb2.SubmitChallengeRequest, _call: Call
    ) -> challenge_service_pb2.SubmitChallengeResponse:
        """Submit a challenge."""
        submitted = await self._store.submit(
            request.user_challenge_id,
            request.user_id,
            notes=request.notes,
            request_id=request.request_id or None,
        )
        return challenge_service_pb2.SubmitChallengeResponse(
            user_challenge=_user_challenge(submitted.user_challenge), total_points=submitted.total_points
        )

    async def list_user_challenges(
        self, request: challenge_service_pb2.ListUserChallengesRequest, _call: Call
    ) -> challenge_service_pb2.ListUserChallengesResponse:
        """List what a person took on."""
        states = sorted(map(_state, request.states))
        asked = ("ListUserChallenges", request.user_id.lower(), states)
        page = await self._store.list_of_user(
            request.user_id,
            states=states or None,
            page_size=_page_size(request.page_size),
            after=self._pages.open(request.page_token, *asked),
        )
        return challenge_service_pb2.ListUserChallengesResponse(
            user_challenges=map(_user_challenge, page.user_challenges),
            next_page_token=self._pages.seal(page.next_position, *asked),
            total_points=page.total_points,
        )

    async def share_challenge(
        self, request: challenge_service_pb2.ShareChallengeRequest, _call: Call
    ) -> challenge_service_pb2.ShareChallengeResponse:
        """Make a link."""
        self._links.check_enabled()
        ttl = request.ttl.ToTimedelta().total_seconds() if request.HasField("ttl") else DEFAULT_TTL_SECONDS
        link = await self._store.share(
            request.user_challenge_id,
            request.user_id,
            ttl_seconds=ttl,
            request_id=request.request_id or None,
        )
        return challenge_service_pb2.ShareChallengeResponse(share_link=self._share_link(link))

    async def resolve_share_link(
        self, request: challenge_service_pb2.ResolveShareLinkRequest, _call: Call
    ) -> challenge_service_pb2.ResolveShareLinkResponse:
        """Return what a link shows."""
        shown = await self._store.get_shared(self._links.link_id(request.token))
        return challenge_service_pb2.ResolveShareLinkResponse(shared_challenge=_shared_challenge(shown))

    async def revoke_share_link(
        self, request: challenge_service_pb2.RevokeShareLinkRequest, _call: Call
    ) -> challenge_service_pb2.RevokeShareLinkResponse:
        """End a link, even where no new ones are made."""
        await self._store.revoke(request.share_link_id, request.user_id, request_id=request.request_id or None)
        return challenge_service_pb2.RevokeShareLinkResponse()

    def _share_link(self, link: ShareLink) -> challenge_pb2.ShareLink:
        return challenge_pb2.ShareLink(
            id=link.id,
            token=self._links.token(link.id),
            create_time=timestamp(link.create_time),
            expire_time=timestamp(link.expire_time),
        )


def _page(
    listed: Sequence[Challenge], after: Position | None, size: int
) -> tuple[Sequence[Challenge], Position | None]:
    """Return those of the list behind a position, at most `size`, and the position of the next page.

    The list may have changed since: the position is that of its order, and its challenge need not be there any more.
    """
    left = [each for each in listed if after is None or _place(each) > _place_of(after)]
    page = left[:size]
    return page, _position(page[-1]) if size < len(left) else None


def _place(challenge: Challenge) -> tuple[int, int, str]:
    """Return what the catalogue is ordered by."""
    return DIFFICULTIES[challenge.difficulty], challenge.points, challenge.title


def _position(challenge: Challenge) -> Position:
    return {"place": _place(challenge)}


def _place_of(position: Position) -> tuple[int, int, str]:
    difficulty, points, title = position["place"]
    return difficulty, points, title


def _page_size(asked: int) -> int:
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _difficulty(value: challenge_pb2.ChallengeDifficulty.ValueType) -> str | None:
    return challenge_pb2.ChallengeDifficulty.Name(value).removeprefix(DIFFICULTY) if value else None


def _state(value: challenge_pb2.UserChallengeState.ValueType) -> str:
    return challenge_pb2.UserChallengeState.Name(value).removeprefix(STATE)


def _challenge(challenge: Challenge) -> challenge_pb2.Challenge:
    return challenge_pb2.Challenge(
        id=challenge.id,
        title=challenge.title,
        description=challenge.description,
        difficulty=DIFFICULTIES[challenge.difficulty],
        points=challenge.points,
    )


def _user_challenge(attempt: UserChallenge) -> challenge_pb2.UserChallenge:
    return challenge_pb2.UserChallenge(
        id=attempt.id,
        user_id=attempt.user_id,
        challenge=_challenge(attempt.challenge),
        state=STATES[attempt.state],
        notes=attempt.notes,
        earned_points=attempt.earned_points,
        create_time=timestamp(attempt.create_time),
        submit_time=timestamp(attempt.submit_time),
        expire_time=timestamp(attempt.expire_time),
    )


def _shared_challenge(shown: SharedChallenge) -> challenge_pb2.SharedChallenge:
    return challenge_pb2.SharedChallenge(
        first_name=shown.first_name, challenge=_challenge(shown.challenge), state=STATES[shown.state]
    )
