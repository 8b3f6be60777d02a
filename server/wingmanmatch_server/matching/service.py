"""MatchingService: translates between the wire and the store."""

from collections.abc import AsyncIterator, Collection
from contextlib import aclosing

from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.matching.erasure import Erasure
from wingmanmatch_server.matching.export import Export
from wingmanmatch_server.matching.limits import CANDIDATE_PAGES, PersonalLimits, Places
from wingmanmatch_server.matching.messages import (
    candidate_message,
    event_message,
    match_message,
    profile_fields,
    profile_message,
    reputation_message,
    share_link_message,
    shared_match_message,
    write_candidate,
)
from wingmanmatch_server.matching.store import MatchingStore
from wingmanmatch_server.matching.vouching import vouched_email
from wingmanmatch_server.matching.watch import MatchWatch
from wingmanmatch_server.paging import PageTokens, resume_token, sequence_of
from wingmanmatch_server.share_links import DEFAULT_TTL_SECONDS, ShareLinks
from wingmanmatch_server.texts.photo_addresses import PhotoAddresses
from wingmanmatch_server.texts.refused import TextRefused
from wingmanmatch_server.wire import canonical_id

DEFAULT_RADIUS_MILES = 25.0
DEFAULT_CANDIDATES = 10
DEFAULT_MATCHES = 20
MAX_PAGE_SIZE = 100


class MatchingService:
    """Each method is the RPC of its name; `matching_service.proto` has the contract."""

    def __init__(
        self,
        store: MatchingStore,
        watch: MatchWatch,
        erasure: Erasure,
        export: Export,
        time_zones: Collection[str],
        links: ShareLinks,
        pages: PageTokens,
        photos: PhotoAddresses,
        limits: PersonalLimits | None = None,
    ) -> None:
        """`time_zones` are the names of the IANA zones that a profile may have; without `limits` there are none."""
        self._store = store
        self._watch = watch
        self._erasure = erasure
        self._export = export
        self._time_zones = time_zones
        self._links = links
        self._pages = pages
        self._photos = photos
        self._limits = limits
        self._places = Places(store, limits)

    async def upsert_profile(
        self, request: matching_service_pb2.UpsertProfileRequest, call: Call
    ) -> matching_service_pb2.UpsertProfileResponse:
        """Create or replace a profile."""
        self._check_time_zone(request.profile.time_zone)
        addresses = {
            "email": vouched_email(call.caller, request.profile.email),
            "photo_url": self._photo(request.profile.photo_url),
        }
        profile = await self._places.upsert_profile(
            profile_fields(request.profile) | addresses, call.caller, request.request_id or None
        )
        return matching_service_pb2.UpsertProfileResponse(profile=profile_message(profile, self._photos))

    async def get_profile(
        self, request: matching_service_pb2.GetProfileRequest, _call: Call
    ) -> matching_service_pb2.GetProfileResponse:
        """Return a profile."""
        profile = await self._store.get_profile(request.user_id)
        return matching_service_pb2.GetProfileResponse(profile=profile_message(profile, self._photos))

    async def delete_profile(
        self, request: matching_service_pb2.DeleteProfileRequest, _call: Call
    ) -> matching_service_pb2.DeleteProfileResponse:
        """Erase a person."""
        await self._erasure.erase(canonical_id(request.user_id), request_id=request.request_id or None)
        return matching_service_pb2.DeleteProfileResponse()

    async def export_profile(
        self, request: matching_service_pb2.ExportProfileRequest, _call: Call
    ) -> AsyncIterator[matching_service_pb2.ExportProfileResponse]:
        """Stream everything that is stored about a person."""
        async for kind, record in self._export.records(canonical_id(request.user_id)):
            response = matching_service_pb2.ExportProfileResponse(
                kind=matching_pb2.ExportRecordKind.Value(f"EXPORT_RECORD_KIND_{kind}")
            )
            response.record.update(record)
            yield response

    async def list_candidates(
        self, request: matching_service_pb2.ListCandidatesRequest, call: Call
    ) -> matching_service_pb2.ListCandidatesResponse:
        """List whom a person could invite."""
        user_id, radius = canonical_id(request.user_id), _radius(request)
        after = self._pages.open(request.page_token, "ListCandidates", user_id, radius)
        if self._limits is not None:
            await self._limits.spend(CANDIDATE_PAGES, user_id, call.caller)
        page = await self._store.list_candidates(
            user_id,
            radius_miles=radius,
            page_size=_page_size(request.page_size, DEFAULT_CANDIDATES),
            after=after,
        )
        token = self._pages.seal(page.next_position, "ListCandidates", user_id, radius)
        response = matching_service_pb2.ListCandidatesResponse(next_page_token=token)
        for candidate in page.candidates:
            write_candidate(response.candidates.add(), candidate, self._photos)
        return response

    async def request_match(
        self, request: matching_service_pb2.RequestMatchRequest, _call: Call
    ) -> matching_service_pb2.RequestMatchResponse:
        """Invite a person."""
        requested = await self._store.request_match(
            request.user_id,
            candidate_user_id=request.candidate_user_id or None,
            radius_miles=_radius(request),
            venue_suggestion=request.venue_suggestion,
            message=request.message,
            request_id=request.request_id or None,
        )
        return matching_service_pb2.RequestMatchResponse(
            match=match_message(requested.match), candidate=candidate_message(requested.candidate, self._photos)
        )

    async def respond_to_match(
        self, request: matching_service_pb2.RespondToMatchRequest, _call: Call
    ) -> matching_service_pb2.RespondToMatchResponse:
        """Accept or decline an invitation."""
        answered = await self._store.respond_to_match(
            request.match_id,
            request.user_id,
            response=matching_pb2.MatchResponse.Name(request.response).removeprefix("MATCH_RESPONSE_"),
            find_next=request.find_next,
            request_id=request.request_id or None,
        )
        return matching_service_pb2.RespondToMatchResponse(
            match=match_message(answered.match),
            next_match=match_message(answered.next_match) if answered.next_match else None,
            next_candidate=candidate_message(answered.next_candidate, self._photos)
            if answered.next_candidate
            else None,
        )

    async def cancel_match(
        self, request: matching_service_pb2.CancelMatchRequest, _call: Call
    ) -> matching_service_pb2.CancelMatchResponse:
        """Withdraw an invitation."""
        match = await self._store.cancel_match(request.match_id, request.user_id, request_id=request.request_id or None)
        return matching_service_pb2.CancelMatchResponse(match=match_message(match))

    async def end_match(
        self, request: matching_service_pb2.EndMatchRequest, _call: Call
    ) -> matching_service_pb2.EndMatchResponse:
        """End an accepted match."""
        match = await self._store.end_match(request.match_id, request.user_id, request_id=request.request_id or None)
        return matching_service_pb2.EndMatchResponse(match=match_message(match))

    async def block_user(
        self, request: matching_service_pb2.BlockUserRequest, _call: Call
    ) -> matching_service_pb2.BlockUserResponse:
        """Keep two people apart."""
        await self._store.block_user(request.user_id, request.blocked_user_id, request_id=request.request_id or None)
        return matching_service_pb2.BlockUserResponse()

    async def unblock_user(
        self, request: matching_service_pb2.UnblockUserRequest, _call: Call
    ) -> matching_service_pb2.UnblockUserResponse:
        """Take a block back."""
        await self._store.unblock_user(request.user_id, request.blocked_user_id, request_id=request.request_id or None)
        return matching_service_pb2.UnblockUserResponse()

    async def get_reputation(
        self, request: matching_service_pb2.GetReputationRequest, _call: Call
    ) -> matching_service_pb2.GetReputationResponse:
        """Return what others may know of a person's reliability."""
        reputation = await self._store.get_reputation(request.user_id)
        return matching_service_pb2.GetReputationResponse(reputation=reputation_message(reputation))

    async def get_match(
        self, request: matching_service_pb2.GetMatchRequest, _call: Call
    ) -> matching_service_pb2.GetMatchResponse:
        """Return a match."""
        match = await self._store.get_match(request.match_id, request.user_id)
        return matching_service_pb2.GetMatchResponse(match=match_message(match))

    async def list_matches(
        self, request: matching_service_pb2.ListMatchesRequest, _call: Call
    ) -> matching_service_pb2.ListMatchesResponse:
        """List a person's matches."""
        states = sorted(matching_pb2.MatchState.Name(state).removeprefix("MATCH_STATE_") for state in request.states)
        asked = ("ListMatches", request.user_id.lower(), states)
        page = await self._store.list_matches(
            request.user_id,
            states=states or None,
            page_size=_page_size(request.page_size, DEFAULT_MATCHES),
            after=self._pages.open(request.page_token, *asked),
        )
        return matching_service_pb2.ListMatchesResponse(
            matches=[match_message(match) for match in page.matches],
            next_page_token=self._pages.seal(page.next_position, *asked),
        )

    async def watch_matches(
        self, request: matching_service_pb2.WatchMatchesRequest, _call: Call
    ) -> AsyncIterator[matching_service_pb2.WatchMatchesResponse]:
        """Stream what happens to a person's matches."""
        user_id = canonical_id(request.user_id)
        after = sequence_of(request.resume_token, user_id)
        async with aclosing(self._watch.updates(user_id, after)) as updates:
            async for event, number in updates:
                yield matching_service_pb2.WatchMatchesResponse(
                    event=event_message(event) if event else None, resume_token=resume_token(number, user_id)
                )

    async def share_match(
        self, request: matching_service_pb2.ShareMatchRequest, _call: Call
    ) -> matching_service_pb2.ShareMatchResponse:
        """Make a link."""
        self._links.check_enabled()
        ttl = request.ttl.ToTimedelta().total_seconds() if request.HasField("ttl") else DEFAULT_TTL_SECONDS
        link = await self._store.share_match(
            request.match_id, request.user_id, ttl_seconds=ttl, request_id=request.request_id or None
        )
        return matching_service_pb2.ShareMatchResponse(share_link=share_link_message(link, self._links.token(link.id)))

    async def resolve_share_link(
        self, request: matching_service_pb2.ResolveShareLinkRequest, _call: Call
    ) -> matching_service_pb2.ResolveShareLinkResponse:
        """Return what a link shows."""
        shown = await self._store.get_shared_match(self._links.link_id(request.token))
        return matching_service_pb2.ResolveShareLinkResponse(shared_match=shared_match_message(shown))

    async def revoke_share_link(
        self, request: matching_service_pb2.RevokeShareLinkRequest, _call: Call
    ) -> matching_service_pb2.RevokeShareLinkResponse:
        """End a link, even where no new ones are made."""
        await self._store.revoke_share_link(
            request.share_link_id, request.user_id, request_id=request.request_id or None
        )
        return matching_service_pb2.RevokeShareLinkResponse()

    def _photo(self, given: str) -> str:
        try:
            return self._photos.normal(given) if given else ""
        except TextRefused as refused:
            violation = errors.FieldViolation("profile.photo_url", refused.rule, refused.description)
            raise errors.InvalidArgument([violation]) from None

    def _check_time_zone(self, name: str) -> None:
        if name and name not in self._time_zones:
            violation = errors.FieldViolation("profile.time_zone", "time_zone.iana", "must name an IANA time zone")
            raise errors.InvalidArgument([violation])


def _radius(request: matching_service_pb2.ListCandidatesRequest | matching_service_pb2.RequestMatchRequest) -> float:
    return request.radius_miles if request.HasField("radius_miles") else DEFAULT_RADIUS_MILES


def _page_size(asked: int, default: int) -> int:
    return min(asked or default, MAX_PAGE_SIZE)
