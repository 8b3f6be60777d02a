"""Every service of the API, a method for each RPC.

Written by protos/generate_client.py from the protos: change those instead.
"""

from collections.abc import Generator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from wingmanmatch.challenge.v1 import challenge_pb2, challenge_service_pb2
from wingmanmatch.coaching.v1 import coaching_service_pb2
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_pb2, meetup_service_pb2
from wingmanmatch.notification.v1 import notification_pb2, notification_service_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch.session.v1 import session_pb2, session_service_pb2
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_client import rpcs
from wingmanmatch_client.rpc import duration, struct, timestamp
from wingmanmatch_client.sync.calls import Calls


class ChallengeService:
    """Offers challenges, keeps who does which, and credits their points.

    A mutation carries a `request_id`: repeated within 24 hours with the same body it returns the first answer again and
    changes nothing; with another body it is refused with INVALID_ARGUMENT, reason REQUEST_ID_REUSED.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list_challenges(
        self,
        *,
        difficulty: challenge_pb2.ChallengeDifficulty.ValueType = challenge_pb2.CHALLENGE_DIFFICULTY_UNSPECIFIED,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> challenge_service_pb2.ListChallengesResponse:
        """Lists the public catalogue, the easiest first, of equally hard ones those with fewer points first.

        The answer may be ten minutes old. Reasons: PAGE_TOKEN_INVALID.

        Args:
            difficulty: Only challenges this hard. Unspecified means all.
            page_size: The most challenges to return. 0 means 20; more than 100 means 100.
            page_token: `next_page_token` of the page before; the other arguments must be the same.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.CHALLENGE_LIST_CHALLENGES,
            challenge_service_pb2.ListChallengesRequest(
                difficulty=difficulty, page_size=page_size, page_token=page_token
            ),
            timeout,
        )

    def iter_challenges(
        self,
        *,
        difficulty: challenge_pb2.ChallengeDifficulty.ValueType = challenge_pb2.CHALLENGE_DIFFICULTY_UNSPECIFIED,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Generator[challenge_pb2.Challenge, None, None]:
        """Lists the public catalogue, the easiest first, of equally hard ones those with fewer points first.

        As list_challenges, over all pages; each is asked for when it is needed.

        Args:
            difficulty: Only challenges this hard. Unspecified means all.
            page_size: The most challenges to return. 0 means 20; more than 100 means 100.
            timeout: Seconds each page may take. Left out means 5.
        """
        return self._calls.items(
            rpcs.CHALLENGE_LIST_CHALLENGES,
            challenge_service_pb2.ListChallengesRequest(difficulty=difficulty, page_size=page_size),
            lambda page: page.challenges,
            timeout,
        )

    def get_challenge(
        self, *, challenge_id: str, timeout: float | None = None
    ) -> challenge_service_pb2.GetChallengeResponse:
        """Returns one challenge of the public catalogue. Reasons: CHALLENGE_NOT_FOUND.

        Args:
            challenge_id: Which challenge.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.CHALLENGE_GET_CHALLENGE, challenge_service_pb2.GetChallengeRequest(challenge_id=challenge_id), timeout
        )

    def start_challenge(
        self, *, user_id: str, challenge_id: str, request_id: str = "", timeout: float | None = None
    ) -> challenge_service_pb2.StartChallengeResponse:
        """Takes a challenge on. It expires unless it is submitted within seven days, or what the server is
        configured to.

        Idempotent by `request_id`. Reasons: PROFILE_NOT_FOUND, CHALLENGE_NOT_FOUND, CHALLENGE_IN_PROGRESS,
        REQUEST_ID_REUSED.

        Args:
            user_id: Who takes it on.
            challenge_id: Which challenge.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.CHALLENGE_START_CHALLENGE,
            challenge_service_pb2.StartChallengeRequest(
                user_id=user_id, challenge_id=challenge_id, request_id=request_id
            ),
            timeout,
        )

    def submit_challenge(
        self,
        *,
        user_challenge_id: str,
        user_id: str,
        notes: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> challenge_service_pb2.SubmitChallengeResponse:
        """Submits a challenge that is under way. Its points are earned once, however often the call is repeated.

        Idempotent by `request_id`. Reasons: USER_CHALLENGE_NOT_FOUND, CHALLENGE_EXPIRED, CHALLENGE_SUBMITTED,
        REQUEST_ID_REUSED.

        Args:
            user_challenge_id: Which attempt.
            user_id: Whose attempt.
            notes: How it went. Only the person sees it.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.CHALLENGE_SUBMIT_CHALLENGE,
            challenge_service_pb2.SubmitChallengeRequest(
                user_challenge_id=user_challenge_id, user_id=user_id, notes=notes, request_id=request_id
            ),
            timeout,
        )

    def list_user_challenges(
        self,
        *,
        user_id: str,
        states: Iterable[challenge_pb2.UserChallengeState.ValueType] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> challenge_service_pb2.ListUserChallengesResponse:
        """Lists the challenges that a person took on, newest first. Reasons: PAGE_TOKEN_INVALID.

        Args:
            user_id: Whose attempts.
            states: Only attempts in these states. Empty means all.
            page_size: The most attempts to return. 0 means 20; more than 100 means 100.
            page_token: `next_page_token` of the page before; the other arguments must be the same.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.CHALLENGE_LIST_USER_CHALLENGES,
            challenge_service_pb2.ListUserChallengesRequest(
                user_id=user_id, states=states, page_size=page_size, page_token=page_token
            ),
            timeout,
        )

    def iter_user_challenges(
        self,
        *,
        user_id: str,
        states: Iterable[challenge_pb2.UserChallengeState.ValueType] = (),
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Generator[challenge_pb2.UserChallenge, None, None]:
        """Lists the challenges that a person took on, newest first. Reasons: PAGE_TOKEN_INVALID.

        As list_user_challenges, over all pages; each is asked for when it is needed.

        Args:
            user_id: Whose attempts.
            states: Only attempts in these states. Empty means all.
            page_size: The most attempts to return. 0 means 20; more than 100 means 100.
            timeout: Seconds each page may take. Left out means 5.
        """
        return self._calls.items(
            rpcs.CHALLENGE_LIST_USER_CHALLENGES,
            challenge_service_pb2.ListUserChallengesRequest(user_id=user_id, states=states, page_size=page_size),
            lambda page: page.user_challenges,
            timeout,
        )

    def share_challenge(
        self,
        *,
        user_challenge_id: str,
        user_id: str,
        ttl: timedelta | Duration | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> challenge_service_pb2.ShareChallengeResponse:
        """Makes a link that shows strangers a person's first name and one challenge they took on, and nothing else.

        Idempotent by `request_id`. Reasons: USER_CHALLENGE_NOT_FOUND, FEATURE_DISABLED, REQUEST_ID_REUSED.

        Args:
            user_challenge_id: Which attempt.
            user_id: Whose attempt.
            ttl: How long the link works: from a minute to 90 days. Left out means 30 days.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.CHALLENGE_SHARE_CHALLENGE,
            challenge_service_pb2.ShareChallengeRequest(
                user_challenge_id=user_challenge_id, user_id=user_id, ttl=duration(ttl), request_id=request_id
            ),
            timeout,
        )

    def resolve_share_link(
        self, *, token: str, timeout: float | None = None
    ) -> challenge_service_pb2.ResolveShareLinkResponse:
        """Returns what a link shows. Needs no identity.

        A link that is unknown, expired, revoked or forged is not found; which of these is not told. Reasons:
        SHARE_LINK_NOT_FOUND, FEATURE_DISABLED.

        Args:
            token: The `token` of a link.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.CHALLENGE_RESOLVE_SHARE_LINK, challenge_service_pb2.ResolveShareLinkRequest(token=token), timeout
        )

    def revoke_share_link(
        self, *, share_link_id: str, user_id: str, request_id: str = "", timeout: float | None = None
    ) -> challenge_service_pb2.RevokeShareLinkResponse:
        """Ends a link before its time. Only the person who made it may.

        Idempotent. Reasons: SHARE_LINK_NOT_FOUND, REQUEST_ID_REUSED.

        Args:
            share_link_id: The `id` of a link.
            user_id: Who made it.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.CHALLENGE_REVOKE_SHARE_LINK,
            challenge_service_pb2.RevokeShareLinkRequest(
                share_link_id=share_link_id, user_id=user_id, request_id=request_id
            ),
            timeout,
        )


class CoachingService:
    """Coaches people in social confidence."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def chat(
        self, *, user_id: str, message: str, conversation_id: str = "", timeout: float | None = None
    ) -> Generator[coaching_service_pb2.ChatResponse, None, None]:
        """Answers a person's message, as a stream of text that ends with `done`.

        What was sent before an error stays valid, and the conversation holds it; for one that had just begun the
        error's `metadata.conversation_id` says where. Cancelling the call stops the answer; a conversation that had
        just begun is forgotten then. Not idempotent: every call adds to the conversation and spends from the person's
        daily budget.

        A message that needs other help than a coach's is answered by where to find that help, in the language of the
        message. For a message about self-harm, suicide or violence that the person suffers this holds always: also
        while coaching is switched off, the rate limit or the daily budget is used up, the server is at capacity, or the
        coach or Redis is unavailable. Such an answer is not charged; a bound of 30 messages at once, refilled at one a
        second for each person and server process, protects the server from floods.

        Reasons: CONVERSATION_NOT_FOUND, MESSAGE_REFUSED, COACHING_BUDGET_SPENT, COACH_UNAVAILABLE, FEATURE_DISABLED,
        ERASED_RECENTLY.

        Args:
            user_id: Who writes.
            conversation_id: Which conversation is continued. Empty begins a new one.
            message: What the person writes; not only blanks.
            timeout: Seconds the call may take. Left out means 120.
        """
        return self._calls.stream(
            rpcs.COACHING_CHAT,
            coaching_service_pb2.ChatRequest(user_id=user_id, conversation_id=conversation_id, message=message),
            timeout,
        )

    def get_conversation(
        self, *, conversation_id: str, user_id: str, timeout: float | None = None
    ) -> coaching_service_pb2.GetConversationResponse:
        """Returns a conversation to the person who had it. Reasons: CONVERSATION_NOT_FOUND.

        Args:
            conversation_id: Which conversation.
            user_id: Who had it.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.COACHING_GET_CONVERSATION,
            coaching_service_pb2.GetConversationRequest(conversation_id=conversation_id, user_id=user_id),
            timeout,
        )

    def delete_conversation(
        self, *, conversation_id: str, user_id: str, timeout: float | None = None
    ) -> coaching_service_pb2.DeleteConversationResponse:
        """Forgets a conversation. Idempotent: an unknown conversation is as good as forgotten.

        Args:
            conversation_id: Which conversation.
            user_id: Who had it.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.COACHING_DELETE_CONVERSATION,
            coaching_service_pb2.DeleteConversationRequest(conversation_id=conversation_id, user_id=user_id),
            timeout,
        )

    def suggest_meetup_plan(
        self, *, match_id: str, user_id: str, timeout: float | None = None
    ) -> coaching_service_pb2.SuggestMeetupPlanResponse:
        """Proposes to one of a match's two people where to meet and a challenge for each.

        The match is pending or accepted. While coaching is off or away, fixed rules over the catalogue answer in its
        place. Reasons: MATCH_NOT_FOUND, MATCH_NOT_ACCEPTED.

        Args:
            match_id: Which match.
            user_id: One of its two people.
            timeout: Seconds the call may take. Left out means 30.
        """
        return self._calls.unary(
            rpcs.COACHING_SUGGEST_MEETUP_PLAN,
            coaching_service_pb2.SuggestMeetupPlanRequest(match_id=match_id, user_id=user_id),
            timeout,
        )


class MatchingService:
    """Pairs people with a compatible person nearby.

    A mutation carries a `request_id`: repeated within 24 hours with the same body it returns the first answer again and
    changes nothing; with another body it is refused with INVALID_ARGUMENT, reason REQUEST_ID_REUSED.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def upsert_profile(
        self, *, profile: matching_pb2.Profile, request_id: str = "", timeout: float | None = None
    ) -> matching_service_pb2.UpsertProfileResponse:
        """Creates a person's profile, or replaces it.

        A person's place may move far only a few times a day: a move of more than 25 miles from where one was last
        counted is charged to the limit `profile_relocation`, unless a backend makes it. The first place is free, and a
        refused call changes nothing. The id of somebody who was erased may return after 24 hours, as somebody new, but
        for blocks, for the week in which a pair is not matched again, and for no-shows. Idempotent. Reasons:
        FIELD_INVALID, EMAIL_NOT_VERIFIED, REQUEST_ID_REUSED, RATE_LIMITED, ERASED_RECENTLY.

        Args:
            profile: The whole profile; `create_time` and `update_time` are ignored.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_UPSERT_PROFILE,
            matching_service_pb2.UpsertProfileRequest(profile=profile, request_id=request_id),
            timeout,
        )

    def get_profile(self, *, user_id: str, timeout: float | None = None) -> matching_service_pb2.GetProfileResponse:
        """Returns a person's profile, without the location.

        Reasons: PROFILE_NOT_FOUND.

        Args:
            user_id: Whose profile.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.MATCHING_GET_PROFILE, matching_service_pb2.GetProfileRequest(user_id=user_id), timeout
        )

    def delete_profile(
        self, *, user_id: str, request_id: str = "", timeout: float | None = None
    ) -> matching_service_pb2.DeleteProfileResponse:
        """Erases a person everywhere: profile, location, sessions, waiting mail, conversations. Other people's
        history keeps an anonymous placeholder.

        For 24 hours nothing is stored about the id: no profile, session, conversation or mail. By whom the person was
        blocked, whom the person blocked, and how many meet-ups the person missed is kept under a keyed digest of the
        id, in case the id returns. Idempotent. Reasons: PROFILE_NOT_FOUND.

        Args:
            user_id: Who is erased.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_DELETE_PROFILE,
            matching_service_pb2.DeleteProfileRequest(user_id=user_id, request_id=request_id),
            timeout,
        )

    def list_candidates(
        self,
        *,
        user_id: str,
        radius_miles: float | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> matching_service_pb2.ListCandidatesResponse:
        """Lists the people whom a person could invite now, nearest first; of two equally near the one of better
        reputation.

        A candidate is active, of the same experience level or a neighbouring one, within the radius and both people's
        travel limits, not blocked by either, not paired with the person in the last seven days, and holds no pending
        match. Distances are those of the points that stand for people's places (`LocationPrivacy`). Whoever moves or
        leaves between two pages shifts nobody else. A page that a person asks for, and no backend, is charged to the
        limit `candidate_pages` as well. Reasons: PROFILE_NOT_FOUND, PROFILE_INACTIVE, PAGE_TOKEN_INVALID, RATE_LIMITED.

        Args:
            user_id: For whom.
            radius_miles: How far to look, in statute miles. Left out means 25.
            page_size: The most candidates to return. 0 means 10; more than 100 means 100.
            page_token: `next_page_token` of the page before; the other arguments must be the same.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.MATCHING_LIST_CANDIDATES,
            matching_service_pb2.ListCandidatesRequest(
                user_id=user_id, radius_miles=radius_miles, page_size=page_size, page_token=page_token
            ),
            timeout,
        )

    def iter_candidates(
        self, *, user_id: str, radius_miles: float | None = None, page_size: int = 0, timeout: float | None = None
    ) -> Generator[matching_pb2.Candidate, None, None]:
        """Lists the people whom a person could invite now, nearest first; of two equally near the one of better
        reputation.

        As list_candidates, over all pages; each is asked for when it is needed.

        Args:
            user_id: For whom.
            radius_miles: How far to look, in statute miles. Left out means 25.
            page_size: The most candidates to return. 0 means 10; more than 100 means 100.
            timeout: Seconds each page may take. Left out means 5.
        """
        return self._calls.items(
            rpcs.MATCHING_LIST_CANDIDATES,
            matching_service_pb2.ListCandidatesRequest(user_id=user_id, radius_miles=radius_miles, page_size=page_size),
            lambda page: page.candidates,
            timeout,
        )

    def request_match(
        self,
        *,
        user_id: str,
        candidate_user_id: str = "",
        radius_miles: float | None = None,
        venue_suggestion: str = "",
        message: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> matching_service_pb2.RequestMatchResponse:
        """Invites the nearest compatible person, or the one named.

        If the named person's own invitation to this person is pending, that match is accepted instead, and returned.
        The invited person gets a mail. Why a named person cannot be invited is not told, nor whether there is such a
        person. Idempotent by `request_id`. Reasons: PROFILE_NOT_FOUND, PROFILE_INACTIVE, CANDIDATE_UNAVAILABLE,
        NO_CANDIDATE, PENDING_MATCH_EXISTS, DAILY_MATCH_LIMIT, CONFLICT, REQUEST_ID_REUSED.

        Args:
            user_id: Who asks.
            candidate_user_id: Who is asked. Empty means the nearest compatible person.
            radius_miles: How far to look, in statute miles. Left out means 25.
            venue_suggestion: Where to meet, as a proposal.
            message: A few words to the invited person.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_REQUEST_MATCH,
            matching_service_pb2.RequestMatchRequest(
                user_id=user_id,
                candidate_user_id=candidate_user_id,
                radius_miles=radius_miles,
                venue_suggestion=venue_suggestion,
                message=message,
                request_id=request_id,
            ),
            timeout,
        )

    def respond_to_match(
        self,
        *,
        match_id: str,
        user_id: str,
        response: matching_pb2.MatchResponse.ValueType,
        find_next: bool = False,
        request_id: str = "",
        timeout: float | None = None,
    ) -> matching_service_pb2.RespondToMatchResponse:
        """Accepts or declines an invitation. Only the invited person may.

        The requester gets a mail. Idempotent by `request_id`. Reasons: MATCH_NOT_FOUND, NOT_INVITEE, MATCH_NOT_PENDING,
        REQUEST_ID_REUSED.

        Args:
            match_id: Which match.
            user_id: The invited person.
            response: The answer.
            find_next: On DECLINE: invite the nearest compatible person at once, as RequestMatch does. Where that is not
                possible the match is declined all the same and no next match is returned.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_RESPOND_TO_MATCH,
            matching_service_pb2.RespondToMatchRequest(
                match_id=match_id, user_id=user_id, response=response, find_next=find_next, request_id=request_id
            ),
            timeout,
        )

    def cancel_match(
        self, *, match_id: str, user_id: str, request_id: str = "", timeout: float | None = None
    ) -> matching_service_pb2.CancelMatchResponse:
        """Withdraws an invitation. Only its requester may.

        An invitation mail that was not sent yet is not sent. Idempotent by `request_id`. Reasons: MATCH_NOT_FOUND,
        NOT_REQUESTER, MATCH_NOT_PENDING, REQUEST_ID_REUSED.

        Args:
            match_id: Which match.
            user_id: The requester.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_CANCEL_MATCH,
            matching_service_pb2.CancelMatchRequest(match_id=match_id, user_id=user_id, request_id=request_id),
            timeout,
        )

    def end_match(
        self, *, match_id: str, user_id: str, request_id: str = "", timeout: float | None = None
    ) -> matching_service_pb2.EndMatchResponse:
        """Ends an accepted match. Either person may.

        Idempotent by `request_id`. Reasons: MATCH_NOT_FOUND, MATCH_NOT_ACCEPTED, REQUEST_ID_REUSED.

        Args:
            match_id: Which match.
            user_id: One of its two people.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_END_MATCH,
            matching_service_pb2.EndMatchRequest(match_id=match_id, user_id=user_id, request_id=request_id),
            timeout,
        )

    def get_match(
        self, *, match_id: str, user_id: str, timeout: float | None = None
    ) -> matching_service_pb2.GetMatchResponse:
        """Returns a match to one of its two people. To anyone else it does not exist. Reasons: MATCH_NOT_FOUND.

        Args:
            match_id: Which match.
            user_id: One of its two people.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.MATCHING_GET_MATCH, matching_service_pb2.GetMatchRequest(match_id=match_id, user_id=user_id), timeout
        )

    def list_matches(
        self,
        *,
        user_id: str,
        states: Iterable[matching_pb2.MatchState.ValueType] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> matching_service_pb2.ListMatchesResponse:
        """Lists a person's matches, newest first. Reasons: PAGE_TOKEN_INVALID.

        Args:
            user_id: Whose matches.
            states: Only matches in these states. Empty means all.
            page_size: The most matches to return. 0 means 20; more than 100 means 100.
            page_token: `next_page_token` of the page before; the other arguments must be the same.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.MATCHING_LIST_MATCHES,
            matching_service_pb2.ListMatchesRequest(
                user_id=user_id, states=states, page_size=page_size, page_token=page_token
            ),
            timeout,
        )

    def iter_matches(
        self,
        *,
        user_id: str,
        states: Iterable[matching_pb2.MatchState.ValueType] = (),
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Generator[matching_pb2.Match, None, None]:
        """Lists a person's matches, newest first. Reasons: PAGE_TOKEN_INVALID.

        As list_matches, over all pages; each is asked for when it is needed.

        Args:
            user_id: Whose matches.
            states: Only matches in these states. Empty means all.
            page_size: The most matches to return. 0 means 20; more than 100 means 100.
            timeout: Seconds each page may take. Left out means 5.
        """
        return self._calls.items(
            rpcs.MATCHING_LIST_MATCHES,
            matching_service_pb2.ListMatchesRequest(user_id=user_id, states=states, page_size=page_size),
            lambda page: page.matches,
            timeout,
        )

    def watch_matches(
        self, *, user_id: str, resume_token: str = "", heartbeats: bool = False, patience: float | None = None
    ) -> Generator[matching_service_pb2.WatchMatchesResponse, None, None]:
        """Streams what happens to a person's matches and meet-ups, from now on or from where an earlier stream
        ended.

        Every message carries a `resume_token`; a call with the last one received continues without gap or repetition,
        at any replica, for seven days. The first message is a heartbeat that says where the stream begins, and while
        nothing happens one follows every twenty seconds. A reader too slow for the server's buffer is ended with
        ABORTED, and every reader with UNAVAILABLE when the server stops; both may resume, as may, with a new token, a
        reader that is ended with UNAUTHENTICATED because the user's token expired. Reasons: PROFILE_NOT_FOUND,
        RESUME_TOKEN_INVALID, RESUME_TOKEN_EXPIRED, READER_TOO_SLOW, DRAINING, TOKEN_EXPIRED.

        A stream that breaks is opened again where it was: every event comes once. Errors that will not pass are raised.

        Args:
            user_id: Whose matches and meet-ups.
            resume_token: The last `resume_token` received. Empty means from now on.
            heartbeats: Whether messages without an event are yielded too, the first at once.
            patience: Seconds of failures after which the last is raised. None: never.
        """
        return self._calls.watch(
            rpcs.MATCHING_WATCH_MATCHES,
            matching_service_pb2.WatchMatchesRequest(user_id=user_id, resume_token=resume_token),
            heartbeats=heartbeats,
            patience=patience,
        )

    def block_user(
        self, *, user_id: str, blocked_user_id: str, request_id: str = "", timeout: float | None = None
    ) -> matching_service_pb2.BlockUserResponse:
        """Keeps two people from ever being shown to or matched with one another. Ends a live match between them.

        Idempotent. Reasons: PROFILE_NOT_FOUND.

        Args:
            user_id: Who blocks.
            blocked_user_id: Who is blocked.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_BLOCK_USER,
            matching_service_pb2.BlockUserRequest(
                user_id=user_id, blocked_user_id=blocked_user_id, request_id=request_id
            ),
            timeout,
        )

    def unblock_user(
        self, *, user_id: str, blocked_user_id: str, request_id: str = "", timeout: float | None = None
    ) -> matching_service_pb2.UnblockUserResponse:
        """Takes a person's own block back, also of somebody who was erased.

        Idempotent. A block by the other person stays. A person who was just erased has none. Reasons:
        PROFILE_NOT_FOUND.

        Args:
            user_id: Who had blocked.
            blocked_user_id: Who was blocked.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_UNBLOCK_USER,
            matching_service_pb2.UnblockUserRequest(
                user_id=user_id, blocked_user_id=blocked_user_id, request_id=request_id
            ),
            timeout,
        )

    def get_reputation(
        self, *, user_id: str, timeout: float | None = None
    ) -> matching_service_pb2.GetReputationResponse:
        """Returns what others may know of a person's reliability. Reasons: PROFILE_NOT_FOUND.

        Args:
            user_id: About whom.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.MATCHING_GET_REPUTATION, matching_service_pb2.GetReputationRequest(user_id=user_id), timeout
        )

    def export_profile(
        self, *, user_id: str, timeout: float | None = None
    ) -> Generator[matching_service_pb2.ExportProfileResponse, None, None]:
        """Streams everything stored about a person, record by record, for the person to keep.

        Records come kind by kind, the oldest of each first. What another person wrote or did is left out. Reasons:
        PROFILE_NOT_FOUND.

        Args:
            user_id: Whose data.
            timeout: Seconds the call may take. Left out means 60.
        """
        return self._calls.stream(
            rpcs.MATCHING_EXPORT_PROFILE, matching_service_pb2.ExportProfileRequest(user_id=user_id), timeout
        )

    def share_match(
        self,
        *,
        match_id: str,
        user_id: str,
        ttl: timedelta | Duration | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> matching_service_pb2.ShareMatchResponse:
        """Makes a link that shows strangers the first name of one of an accepted match's two people, and no other
        person.

        Idempotent by `request_id`. Reasons: MATCH_NOT_FOUND, MATCH_NOT_ACCEPTED, FEATURE_DISABLED, REQUEST_ID_REUSED.

        Args:
            match_id: Which accepted match.
            user_id: The one of its two people who shares.
            ttl: How long the link works: from a minute to 90 days. Left out means 30 days.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_SHARE_MATCH,
            matching_service_pb2.ShareMatchRequest(
                match_id=match_id, user_id=user_id, ttl=duration(ttl), request_id=request_id
            ),
            timeout,
        )

    def resolve_share_link(
        self, *, token: str, timeout: float | None = None
    ) -> matching_service_pb2.ResolveShareLinkResponse:
        """Returns what a link shows. Needs no identity.

        A link that is unknown, expired, revoked or forged is not found; which of these is not told. Reasons:
        SHARE_LINK_NOT_FOUND, FEATURE_DISABLED.

        Args:
            token: The `token` of a link.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.MATCHING_RESOLVE_SHARE_LINK, matching_service_pb2.ResolveShareLinkRequest(token=token), timeout
        )

    def revoke_share_link(
        self, *, share_link_id: str, user_id: str, request_id: str = "", timeout: float | None = None
    ) -> matching_service_pb2.RevokeShareLinkResponse:
        """Ends a link before its time. Only the person who made it may.

        Idempotent. Reasons: SHARE_LINK_NOT_FOUND, REQUEST_ID_REUSED.

        Args:
            share_link_id: The `id` of a link.
            user_id: Who made it.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MATCHING_REVOKE_SHARE_LINK,
            matching_service_pb2.RevokeShareLinkRequest(
                share_link_id=share_link_id, user_id=user_id, request_id=request_id
            ),
            timeout,
        )


class MeetupService:
    """Lets two matched people meet: at a place, at a time, with a challenge each.

    Only the two people of a meet-up see it; to anyone else it does not exist. A mutation carries a `request_id`:
    repeated within 24 hours with the same body it returns the first answer again and changes nothing; with another body
    it is refused with INVALID_ARGUMENT, reason REQUEST_ID_REUSED.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def schedule_meetup(
        self,
        *,
        match_id: str,
        user_id: str,
        venue_name: str,
        scheduled_time: datetime | Timestamp,
        requester_challenge_id: str = "",
        invitee_challenge_id: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> meetup_service_pb2.ScheduleMeetupResponse:
        """Schedules a meet-up of an accepted match. Either person may; a match has one scheduled meet-up at a time.

        Both people get a mail with a calendar entry, and are reminded 24 hours and 2 hours before. Idempotent by
        `request_id`. Reasons: MATCH_NOT_FOUND, MATCH_NOT_ACCEPTED, MEETUP_EXISTS, MEETUP_TIME_PAST,
        CHALLENGE_NOT_FOUND, REQUEST_ID_REUSED.

        Args:
            match_id: Which accepted match.
            user_id: One of its two people.
            venue_name: Where to meet.
            scheduled_time: When to meet: in the future, and within a year.
            requester_challenge_id: The challenge of the person who had asked for the match. Empty means none.
            invitee_challenge_id: The challenge of the person who had been asked. Empty means none.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MEETUP_SCHEDULE_MEETUP,
            meetup_service_pb2.ScheduleMeetupRequest(
                match_id=match_id,
                user_id=user_id,
                venue_name=venue_name,
                scheduled_time=timestamp(scheduled_time),
                requester_challenge_id=requester_challenge_id,
                invitee_challenge_id=invitee_challenge_id,
                request_id=request_id,
            ),
            timeout,
        )

    def get_meetup(
        self, *, meetup_id: str, user_id: str, timeout: float | None = None
    ) -> meetup_service_pb2.GetMeetupResponse:
        """Returns a meet-up to one of its two people. Reasons: MEETUP_NOT_FOUND.

        Args:
            meetup_id: Which meet-up.
            user_id: One of its two people.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.MEETUP_GET_MEETUP, meetup_service_pb2.GetMeetupRequest(meetup_id=meetup_id, user_id=user_id), timeout
        )

    def list_meetups(
        self,
        *,
        user_id: str,
        states: Iterable[meetup_pb2.MeetupState.ValueType] = (),
        match_id: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> meetup_service_pb2.ListMeetupsResponse:
        """Lists a person's meet-ups, the latest scheduled time first. Reasons: PAGE_TOKEN_INVALID.

        Args:
            user_id: Whose meet-ups.
            states: Only meet-ups in these states. Empty means all.
            match_id: Only meet-ups of this match. Empty means of all.
            page_size: The most meet-ups to return. 0 means 20; more than 100 means 100.
            page_token: `next_page_token` of the page before; the other arguments must be the same.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.MEETUP_LIST_MEETUPS,
            meetup_service_pb2.ListMeetupsRequest(
                user_id=user_id, states=states, match_id=match_id, page_size=page_size, page_token=page_token
            ),
            timeout,
        )

    def iter_meetups(
        self,
        *,
        user_id: str,
        states: Iterable[meetup_pb2.MeetupState.ValueType] = (),
        match_id: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Generator[meetup_pb2.Meetup, None, None]:
        """Lists a person's meet-ups, the latest scheduled time first. Reasons: PAGE_TOKEN_INVALID.

        As list_meetups, over all pages; each is asked for when it is needed.

        Args:
            user_id: Whose meet-ups.
            states: Only meet-ups in these states. Empty means all.
            match_id: Only meet-ups of this match. Empty means of all.
            page_size: The most meet-ups to return. 0 means 20; more than 100 means 100.
            timeout: Seconds each page may take. Left out means 5.
        """
        return self._calls.items(
            rpcs.MEETUP_LIST_MEETUPS,
            meetup_service_pb2.ListMeetupsRequest(
                user_id=user_id, states=states, match_id=match_id, page_size=page_size
            ),
            lambda page: page.meetups,
            timeout,
        )

    def reschedule_meetup(
        self,
        *,
        meetup_id: str,
        user_id: str,
        scheduled_time: datetime | Timestamp | None = None,
        venue_name: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> meetup_service_pb2.RescheduleMeetupResponse:
        """Moves a scheduled meet-up to another time, another place, or both. Either person may, before it began.

        Reminders move along, and both people get a mail. Idempotent by `request_id`. Reasons: MEETUP_NOT_FOUND,
        MEETUP_NOT_SCHEDULED, MEETUP_STARTED, MEETUP_TIME_PAST, REQUEST_ID_REUSED.

        Args:
            meetup_id: Which meet-up.
            user_id: One of its two people.
            scheduled_time: When to meet: in the future, and within a year. Left out, the time stays.
            venue_name: Where to meet. Empty, the place stays.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MEETUP_RESCHEDULE_MEETUP,
            meetup_service_pb2.RescheduleMeetupRequest(
                meetup_id=meetup_id,
                user_id=user_id,
                scheduled_time=timestamp(scheduled_time),
                venue_name=venue_name,
                request_id=request_id,
            ),
            timeout,
        )

    def cancel_meetup(
        self, *, meetup_id: str, user_id: str, request_id: str = "", timeout: float | None = None
    ) -> meetup_service_pb2.CancelMeetupResponse:
        """Calls a scheduled meet-up off. Either person may, before it began.

        Reminders are dropped, and both people get a mail. Idempotent by `request_id`. Reasons: MEETUP_NOT_FOUND,
        MEETUP_NOT_SCHEDULED, MEETUP_STARTED, REQUEST_ID_REUSED.

        Args:
            meetup_id: Which meet-up.
            user_id: One of its two people.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MEETUP_CANCEL_MEETUP,
            meetup_service_pb2.CancelMeetupRequest(meetup_id=meetup_id, user_id=user_id, request_id=request_id),
            timeout,
        )

    def confirm_meetup(
        self, *, meetup_id: str, user_id: str, request_id: str = "", timeout: float | None = None
    ) -> meetup_service_pb2.ConfirmMeetupResponse:
        """Confirms that the other person was there. Possible once the scheduled time has come.

        When both confirmed, the meet-up is completed and both gain reputation. A person who confirms again changes
        nothing. Idempotent. Reasons: MEETUP_NOT_FOUND, MEETUP_NOT_SCHEDULED, MEETUP_NOT_STARTED, MEETUP_ANSWERED,
        REQUEST_ID_REUSED.

        Args:
            meetup_id: Which meet-up.
            user_id: Who confirms the other person.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MEETUP_CONFIRM_MEETUP,
            meetup_service_pb2.ConfirmMeetupRequest(meetup_id=meetup_id, user_id=user_id, request_id=request_id),
            timeout,
        )

    def report_no_show(
        self, *, meetup_id: str, user_id: str, request_id: str = "", timeout: float | None = None
    ) -> meetup_service_pb2.ReportNoShowResponse:
        """Reports that the other person was missing. Possible once the scheduled time has come.

        The missing person loses reputation. A person who reports again changes nothing. Idempotent. Reasons:
        MEETUP_NOT_FOUND, MEETUP_NOT_SCHEDULED, MEETUP_NOT_STARTED, MEETUP_ANSWERED, REQUEST_ID_REUSED.

        Args:
            meetup_id: Which meet-up.
            user_id: Who was there and missed the other person.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MEETUP_REPORT_NO_SHOW,
            meetup_service_pb2.ReportNoShowRequest(meetup_id=meetup_id, user_id=user_id, request_id=request_id),
            timeout,
        )

    def update_meetup_notes(
        self, *, meetup_id: str, user_id: str, notes: str = "", request_id: str = "", timeout: float | None = None
    ) -> meetup_service_pb2.UpdateMeetupNotesResponse:
        """Replaces a person's own notes on a meet-up, in any of its states. Only that person sees them.

        Idempotent. Reasons: MEETUP_NOT_FOUND, REQUEST_ID_REUSED.

        Args:
            meetup_id: Which meet-up.
            user_id: Whose notes.
            notes: The notes; empty removes them.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.MEETUP_UPDATE_MEETUP_NOTES,
            meetup_service_pb2.UpdateMeetupNotesRequest(
                meetup_id=meetup_id, user_id=user_id, notes=notes, request_id=request_id
            ),
            timeout,
        )


class NotificationService:
    """Sends mails, now or later, and tells what became of them.

    A mail is stored before the call returns and sent afterwards, by any replica, however long the provider is away. A
    mutation carries a `request_id`: repeated within 24 hours with the same body it returns the first answer again and
    changes nothing; with another body it is refused with INVALID_ARGUMENT, reason REQUEST_ID_REUSED.

    Whoever causes them, an address gets at most 3 emails in 10 minutes that other people or backends caused, 10 an hour
    and 30 a day. What is beyond is HELD, until one email of kind DIGEST says how much waits.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def send_notification(
        self,
        *,
        user_id: str = "",
        recipient_email: str = "",
        match_invitation: notification_pb2.MatchInvitation | None = None,
        match_acceptance: notification_pb2.MatchAcceptance | None = None,
        match_decline: notification_pb2.MatchDecline | None = None,
        session_reminder: notification_pb2.SessionReminder | None = None,
        send_time: datetime | Timestamp | None = None,
        request_id: str = "",
        recipient_name: str = "",
        locale: str = "",
        time_zone: str = "",
        timeout: float | None = None,
    ) -> notification_service_pb2.SendNotificationResponse:
        """Stores a mail for sending.

        What the recipient does not want, or cannot get, is stored as suppressed. The address that the email goes to,
        and the person if there is one, are charged to the rate limit `email_send` whoever calls: both or, where one has
        no token left or the request is refused, neither. To a person who was erased within the last 24 hours nothing is
        sent, whatever the address: that is PROFILE_NOT_FOUND. Idempotent by `request_id`. Reasons: PROFILE_NOT_FOUND,
        NOTIFICATION_QUEUE_FULL, RATE_LIMITED, REQUEST_ID_REUSED.

        Args:
            user_id: To whom. May be left out where `recipient_email` is given.
            recipient_email: Where to. Empty means the address in the person's profile. A domain may be
                internationalized.
            match_invitation: An invitation to meet.
            match_acceptance: A yes to an invitation.
            match_decline: A no to an invitation.
            session_reminder: A reminder of a meet-up.
            send_time: When to send, within a year. Left out, or past, means now.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            recipient_name: How the recipient is addressed. Empty means the first name in the profile, if there is one.
            locale: The BCP 47 tag of the mail's language. Empty means the one in the profile, or en.
            time_zone: The IANA time zone of times in the mail. Empty means the one in the profile, or UTC.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.NOTIFICATION_SEND_NOTIFICATION,
            notification_service_pb2.SendNotificationRequest(
                user_id=user_id,
                recipient_email=recipient_email,
                match_invitation=match_invitation,
                match_acceptance=match_acceptance,
                match_decline=match_decline,
                session_reminder=session_reminder,
                send_time=timestamp(send_time),
                request_id=request_id,
                recipient_name=recipient_name,
                locale=locale,
                time_zone=time_zone,
            ),
            timeout,
        )

    def preview_notification(
        self,
        *,
        match_invitation: notification_pb2.MatchInvitation | None = None,
        match_acceptance: notification_pb2.MatchAcceptance | None = None,
        match_decline: notification_pb2.MatchDecline | None = None,
        session_reminder: notification_pb2.SessionReminder | None = None,
        meetup_scheduled: notification_pb2.MeetupScheduled | None = None,
        meetup_moved: notification_pb2.MeetupMoved | None = None,
        meetup_cancelled: notification_pb2.MeetupCancelled | None = None,
        locale: str = "",
        time_zone: str = "",
        recipient_name: str = "",
        timeout: float | None = None,
    ) -> notification_service_pb2.PreviewNotificationResponse:
        """Returns a mail as it would be sent, and sends nothing.

        Args:
            match_invitation: An invitation to meet.
            match_acceptance: A yes to an invitation.
            match_decline: A no to an invitation.
            session_reminder: A reminder of a meet-up.
            meetup_scheduled: News of a scheduled meet-up.
            meetup_moved: News of a moved meet-up.
            meetup_cancelled: News of a cancelled meet-up.
            locale: The BCP 47 tag of the mail's language. Empty means en.
            time_zone: The IANA time zone of times in the mail. Empty means UTC.
            recipient_name: How the recipient is addressed. Empty means without a name.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.NOTIFICATION_PREVIEW_NOTIFICATION,
            notification_service_pb2.PreviewNotificationRequest(
                match_invitation=match_invitation,
                match_acceptance=match_acceptance,
                match_decline=match_decline,
                session_reminder=session_reminder,
                meetup_scheduled=meetup_scheduled,
                meetup_moved=meetup_moved,
                meetup_cancelled=meetup_cancelled,
                locale=locale,
                time_zone=time_zone,
                recipient_name=recipient_name,
            ),
            timeout,
        )

    def get_notification(
        self, *, notification_id: str, user_id: str = "", timeout: float | None = None
    ) -> notification_service_pb2.GetNotificationResponse:
        """Returns what became of a mail. Reasons: NOTIFICATION_NOT_FOUND.

        Args:
            notification_id: Which mail.
            user_id: To whom it goes. A back end may leave it out.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.NOTIFICATION_GET_NOTIFICATION,
            notification_service_pb2.GetNotificationRequest(notification_id=notification_id, user_id=user_id),
            timeout,
        )

    def list_notifications(
        self,
        *,
        user_id: str = "",
        states: Iterable[notification_pb2.NotificationState.ValueType] = (),
        kinds: Iterable[notification_pb2.NotificationKind.ValueType] = (),
        match_id: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> notification_service_pb2.ListNotificationsResponse:
        """Lists mails, the most recently asked for first. Reasons: PAGE_TOKEN_INVALID.

        Args:
            user_id: Whose mails. A back end may leave it out to list everyone's.
            states: Only mails in these states. Empty means all.
            kinds: Only mails of these kinds. Empty means all.
            match_id: Only mails about this match. Empty means all.
            page_size: The most mails to return. 0 means 20; more than 100 means 100.
            page_token: `next_page_token` of the page before; the other arguments must be the same.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.NOTIFICATION_LIST_NOTIFICATIONS,
            notification_service_pb2.ListNotificationsRequest(
                user_id=user_id,
                states=states,
                kinds=kinds,
                match_id=match_id,
                page_size=page_size,
                page_token=page_token,
            ),
            timeout,
        )

    def iter_notifications(
        self,
        *,
        user_id: str = "",
        states: Iterable[notification_pb2.NotificationState.ValueType] = (),
        kinds: Iterable[notification_pb2.NotificationKind.ValueType] = (),
        match_id: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Generator[notification_pb2.Notification, None, None]:
        """Lists mails, the most recently asked for first. Reasons: PAGE_TOKEN_INVALID.

        As list_notifications, over all pages; each is asked for when it is needed.

        Args:
            user_id: Whose mails. A back end may leave it out to list everyone's.
            states: Only mails in these states. Empty means all.
            kinds: Only mails of these kinds. Empty means all.
            match_id: Only mails about this match. Empty means all.
            page_size: The most mails to return. 0 means 20; more than 100 means 100.
            timeout: Seconds each page may take. Left out means 5.
        """
        return self._calls.items(
            rpcs.NOTIFICATION_LIST_NOTIFICATIONS,
            notification_service_pb2.ListNotificationsRequest(
                user_id=user_id, states=states, kinds=kinds, match_id=match_id, page_size=page_size
            ),
            lambda page: page.notifications,
            timeout,
        )

    def cancel_notification(
        self, *, notification_id: str, request_id: str = "", timeout: float | None = None
    ) -> notification_service_pb2.CancelNotificationResponse:
        """Calls a mail off. OK means that it will not be sent.

        Idempotent. Reasons: NOTIFICATION_NOT_FOUND, NOTIFICATION_IN_FLIGHT, NOTIFICATION_STATE_INVALID,
        REQUEST_ID_REUSED.

        Args:
            notification_id: Which mail.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.NOTIFICATION_CANCEL_NOTIFICATION,
            notification_service_pb2.CancelNotificationRequest(notification_id=notification_id, request_id=request_id),
            timeout,
        )

    def retry_notification(
        self, *, notification_id: str, request_id: str = "", timeout: float | None = None
    ) -> notification_service_pb2.RetryNotificationResponse:
        """Sends a mail that was given up again.

        One in REVIEW may reach the recipient a second time: only a person can know better. Idempotent by `request_id`.
        Reasons: NOTIFICATION_NOT_FOUND, NOTIFICATION_STATE_INVALID, REQUEST_ID_REUSED.

        Args:
            notification_id: Which mail, in DEAD or REVIEW.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.NOTIFICATION_RETRY_NOTIFICATION,
            notification_service_pb2.RetryNotificationRequest(notification_id=notification_id, request_id=request_id),
            timeout,
        )

    def get_preferences(
        self, *, user_id: str, timeout: float | None = None
    ) -> notification_service_pb2.GetPreferencesResponse:
        """Returns which mails a person wants. Reasons: PROFILE_NOT_FOUND.

        Args:
            user_id: Whose preferences.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.NOTIFICATION_GET_PREFERENCES, notification_service_pb2.GetPreferencesRequest(user_id=user_id), timeout
        )

    def update_preferences(
        self,
        *,
        user_id: str,
        kinds: Iterable[notification_pb2.KindPreference],
        request_id: str = "",
        timeout: float | None = None,
    ) -> notification_service_pb2.UpdatePreferencesResponse:
        """Changes which mails a person wants, for the kinds named; the others stay.

        Idempotent. Reasons: PROFILE_NOT_FOUND, REQUEST_ID_REUSED.

        Args:
            user_id: Whose preferences.
            kinds: What changes, each kind once.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.NOTIFICATION_UPDATE_PREFERENCES,
            notification_service_pb2.UpdatePreferencesRequest(user_id=user_id, kinds=kinds, request_id=request_id),
            timeout,
        )

    def record_delivery_event(
        self,
        *,
        svix_id: str,
        svix_signature: str,
        payload: bytes,
        svix_timestamp: str = "",
        timeout: float | None = None,
    ) -> notification_service_pb2.RecordDeliveryEventResponse:
        """Takes in what the provider tells of a mail, forwarded as it was received.

        The provider's signature is checked over the raw bytes. Idempotent: an event's second arrival changes nothing,
        and a late one never turns a mail's state back. Has no rate limit: the signature proves where it comes from.
        Reasons: SIGNATURE_INVALID, FEATURE_DISABLED.

        Args:
            svix_id: The header `svix-id`.
            svix_timestamp: The header `svix-timestamp`.
            svix_signature: The header `svix-signature`.
            payload: The body, byte for byte as it was received.
            timeout: Seconds the call may take. Left out means 10.
        """
        return self._calls.unary(
            rpcs.NOTIFICATION_RECORD_DELIVERY_EVENT,
            notification_service_pb2.RecordDeliveryEventRequest(
                svix_id=svix_id, svix_timestamp=svix_timestamp, svix_signature=svix_signature, payload=payload
            ),
            timeout,
        )


class RateLimitService:
    """Says whether something may happen now, by token buckets that all replicas share.

    A denial is an answer, not an error. A call with a `request_id` spends once however often it is repeated within ten
    seconds with the same body; with another body it is refused with INVALID_ARGUMENT, reason REQUEST_ID_REUSED. While
    Redis is away each policy's outage behaviour decides and the answer says `degraded`.

    Some policies are internal: the server limits its own calls by them. The buckets by which it does so are reached by
    callers with the scope `admin`. Other callers have buckets of their own under these policies: they neither spend nor
    see what the server charged.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def check_rate_limit(
        self,
        *,
        descriptors: Iterable[rate_limit_pb2.RateLimitDescriptor],
        mode: rate_limit_pb2.CheckMode.ValueType = rate_limit_pb2.CHECK_MODE_UNSPECIFIED,
        request_id: str = "",
        timeout: float | None = None,
    ) -> rate_limit_service_pb2.CheckRateLimitResponse:
        """Asks one bucket or many, and charges those that allow.

        Results come in the order of the descriptors. Nothing is charged where an error is returned. Idempotent by
        `request_id`. Reasons: RATE_LIMIT_POLICY_NOT_FOUND, COST_EXCEEDS_CAPACITY, REQUEST_ID_REUSED.

        Args:
            descriptors: Which buckets; one may be named more than once.
            mode: Whether they are asked each for itself or as one.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 1.
        """
        return self._calls.unary(
            rpcs.RATE_LIMIT_CHECK_RATE_LIMIT,
            rate_limit_service_pb2.CheckRateLimitRequest(descriptors=descriptors, mode=mode, request_id=request_id),
            timeout,
        )

    def peek_rate_limit(
        self,
        *,
        descriptors: Iterable[rate_limit_pb2.RateLimitDescriptor],
        mode: rate_limit_pb2.CheckMode.ValueType = rate_limit_pb2.CHECK_MODE_UNSPECIFIED,
        timeout: float | None = None,
    ) -> rate_limit_service_pb2.PeekRateLimitResponse:
        """Asks buckets as CheckRateLimit does, and charges nothing.

        Reasons: RATE_LIMIT_POLICY_NOT_FOUND, COST_EXCEEDS_CAPACITY.

        Args:
            descriptors: Which buckets; one may be named more than once.
            mode: Whether they are asked each for itself or as one.
            timeout: Seconds the call may take. Left out means 1.
        """
        return self._calls.unary(
            rpcs.RATE_LIMIT_PEEK_RATE_LIMIT,
            rate_limit_service_pb2.PeekRateLimitRequest(descriptors=descriptors, mode=mode),
            timeout,
        )

    def reset_rate_limit(
        self, *, policy: str, subject: str, timeout: float | None = None
    ) -> rate_limit_service_pb2.ResetRateLimitResponse:
        """Fills a bucket.

        Idempotent. Reasons: RATE_LIMIT_POLICY_NOT_FOUND.

        Args:
            policy: Name of the policy that the bucket follows.
            subject: Whose bucket.
            timeout: Seconds the call may take. Left out means 1.
        """
        return self._calls.unary(
            rpcs.RATE_LIMIT_RESET_RATE_LIMIT,
            rate_limit_service_pb2.ResetRateLimitRequest(policy=policy, subject=subject),
            timeout,
        )

    def refund_rate_limit(
        self,
        *,
        descriptors: Iterable[rate_limit_pb2.RateLimitDescriptor],
        request_id: str = "",
        timeout: float | None = None,
    ) -> rate_limit_service_pb2.RefundRateLimitResponse:
        """Puts tokens back that were spent in vain. A bucket never holds more than its capacity.

        Results come in the order of the descriptors and are always allowed. Tokens of internal policies need the scope
        `admin`; without it the whole request is refused with PERMISSION_DENIED. Idempotent by `request_id`. Reasons:
        RATE_LIMIT_POLICY_NOT_FOUND, COST_EXCEEDS_CAPACITY, REQUEST_ID_REUSED, ACCESS_DENIED.

        Args:
            descriptors: Which buckets, and how many tokens each gets back.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 1.
        """
        return self._calls.unary(
            rpcs.RATE_LIMIT_REFUND_RATE_LIMIT,
            rate_limit_service_pb2.RefundRateLimitRequest(descriptors=descriptors, request_id=request_id),
            timeout,
        )

    def list_policies(self, *, timeout: float | None = None) -> rate_limit_service_pb2.ListPoliciesResponse:
        """Lists the policies in force, by name.

        Args:
            timeout: Seconds the call may take. Left out means 1.
        """
        return self._calls.unary(rpcs.RATE_LIMIT_LIST_POLICIES, rate_limit_service_pb2.ListPoliciesRequest(), timeout)

    def stream_check_rate_limit(
        self, *, requests: Iterable[rate_limit_service_pb2.StreamCheckRateLimitRequest], timeout: float | None = None
    ) -> Generator[rate_limit_service_pb2.StreamCheckRateLimitResponse, None, None]:
        """Answers checks for as long as the caller sends them, in their order.

        A check that cannot be answered is answered with its error, and the stream goes on. It ends when the caller has
        sent everything and everything is answered.

        Args:
            requests: What is sent, for as long as it comes.
            timeout: Seconds the call may take. Left out, it may stay open.
        """
        return self._calls.exchange(rpcs.RATE_LIMIT_STREAM_CHECK_RATE_LIMIT, requests, timeout)


class SessionService:
    """Keeps user sessions, each opened by a secret token.

    The server stores only a hash of the token. A token that is unknown, expired or malformed is refused with
    UNAUTHENTICATED, reason SESSION_NOT_FOUND; which of these is not told. The calls that take a token have no rate
    limit of their own: back ends make them with every request of every person, and a token of 256 random bits is not
    guessed.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def create_session(
        self,
        *,
        user_id: str,
        data: Mapping[str, Any] | Struct | None = None,
        ttl: timedelta | Duration | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> session_service_pb2.CreateSessionResponse:
        """Opens a session and returns its token, for the only time.

        Idempotent by `request_id` for 24 hours. Reasons: FIELD_INVALID, REQUEST_ID_REUSED, ERASED_RECENTLY.

        Args:
            user_id: Whose session.
            data: What to remember; at most 64 KiB as protobuf bytes, and 32 objects deep or 46 lists, which is what
                parsers take. Its numbers are finite, its strings have no NUL, and each of its values is of a kind.
            ttl: How long the session lives without being extended: from a second to what the server is configured to,
                which is 24 hours. Left out means that most.
            request_id: Makes a retry safe; a random UUID, for with it the server keeps the token so that only who knows
                it can read it. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.SESSION_CREATE_SESSION,
            session_service_pb2.CreateSessionRequest(
                user_id=user_id, data=struct(data), ttl=duration(ttl), request_id=request_id
            ),
            timeout,
        )

    def get_session(
        self, *, token: str, touch: bool = False, timeout: float | None = None
    ) -> session_service_pb2.GetSessionResponse:
        """Returns the session of a token. Reasons: SESSION_NOT_FOUND.

        Args:
            token: The session's token.
            touch: Extends the session too, as TouchSession does without a `ttl`.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.SESSION_GET_SESSION, session_service_pb2.GetSessionRequest(token=token, touch=touch), timeout
        )

    def update_session(
        self,
        *,
        token: str,
        data: Mapping[str, Any] | Struct | None = None,
        expected_version: int | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> session_service_pb2.UpdateSessionResponse:
        """Replaces the data of a session. The expiry stays.

        With `expected_version` the call fails with ABORTED if another update came first. Idempotent by `request_id` for
        24 hours. Reasons: SESSION_NOT_FOUND, SESSION_VERSION_MISMATCH, FIELD_INVALID, REQUEST_ID_REUSED.

        Args:
            token: The session's token.
            data: What to remember from now on, within the bounds of CreateSession.
            expected_version: The version that this update replaces. Left out, it replaces whichever there is.
            request_id: Makes a retry safe; a UUID. Left out, the client makes one.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.SESSION_UPDATE_SESSION,
            session_service_pb2.UpdateSessionRequest(
                token=token, data=struct(data), expected_version=expected_version, request_id=request_id
            ),
            timeout,
        )

    def touch_session(
        self, *, token: str, ttl: timedelta | Duration | None = None, timeout: float | None = None
    ) -> session_service_pb2.TouchSessionResponse:
        """Extends a session from now on, at most to its `max_expire_time`. Idempotent. Reasons: SESSION_NOT_FOUND,
        FIELD_INVALID.

        Args:
            token: The session's token.
            ttl: How long the session lives from now on without being extended, be that longer or shorter than before;
                bounds as in CreateSession. Left out means the time it was created with, and then the session never ends
                earlier for it.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.SESSION_TOUCH_SESSION, session_service_pb2.TouchSessionRequest(token=token, ttl=duration(ttl)), timeout
        )

    def delete_session(self, *, token: str, timeout: float | None = None) -> session_service_pb2.DeleteSessionResponse:
        """Ends the session of a token. Idempotent: an unknown token is as good as ended.

        Args:
            token: The session's token.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.SESSION_DELETE_SESSION, session_service_pb2.DeleteSessionRequest(token=token), timeout
        )

    def list_sessions(
        self, *, user_id: str, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> session_service_pb2.ListSessionsResponse:
        """Lists a person's live sessions, newest first. Reasons: PAGE_TOKEN_INVALID.

        Args:
            user_id: Whose sessions.
            page_size: The most sessions to return. 0 means 20; more than 50 means 50.
            page_token: `next_page_token` of the page before; the other arguments must be the same.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.SESSION_LIST_SESSIONS,
            session_service_pb2.ListSessionsRequest(user_id=user_id, page_size=page_size, page_token=page_token),
            timeout,
        )

    def iter_sessions(
        self, *, user_id: str, page_size: int = 0, timeout: float | None = None
    ) -> Generator[session_pb2.Session, None, None]:
        """Lists a person's live sessions, newest first. Reasons: PAGE_TOKEN_INVALID.

        As list_sessions, over all pages; each is asked for when it is needed.

        Args:
            user_id: Whose sessions.
            page_size: The most sessions to return. 0 means 20; more than 50 means 50.
            timeout: Seconds each page may take. Left out means 5.
        """
        return self._calls.items(
            rpcs.SESSION_LIST_SESSIONS,
            session_service_pb2.ListSessionsRequest(user_id=user_id, page_size=page_size),
            lambda page: page.sessions,
            timeout,
        )

    def delete_user_sessions(
        self, *, user_id: str, timeout: float | None = None
    ) -> session_service_pb2.DeleteUserSessionsResponse:
        """Ends every session of a person, at once on all replicas. Idempotent: a repetition finds none.

        Args:
            user_id: Whose sessions.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.SESSION_DELETE_USER_SESSIONS, session_service_pb2.DeleteUserSessionsRequest(user_id=user_id), timeout
        )


class SystemService:
    """Tells how the server is. Load balancers ask the standard health service instead."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get_status(self, *, timeout: float | None = None) -> system_service_pb2.GetStatusResponse:
        """Reports the process that answers, and everything it depends on.

        Args:
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(rpcs.SYSTEM_GET_STATUS, system_service_pb2.GetStatusRequest(), timeout)

    def list_circuit_breakers(self, *, timeout: float | None = None) -> system_service_pb2.ListCircuitBreakersResponse:
        """Lists the circuit breakers of the process that answers.

        Args:
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.SYSTEM_LIST_CIRCUIT_BREAKERS, system_service_pb2.ListCircuitBreakersRequest(), timeout
        )

    def reset_circuit_breaker(
        self, *, name: str, timeout: float | None = None
    ) -> system_service_pb2.ResetCircuitBreakerResponse:
        """Closes a circuit breaker of the process that answers and forgets its failures.

        Idempotent. Reasons: CIRCUIT_BREAKER_NOT_FOUND.

        Args:
            name: Which breaker.
            timeout: Seconds the call may take. Left out means 5.
        """
        return self._calls.unary(
            rpcs.SYSTEM_RESET_CIRCUIT_BREAKER, system_service_pb2.ResetCircuitBreakerRequest(name=name), timeout
        )


class Services:
    """Every service, on one connection."""

    def __init__(self, calls: Calls) -> None:
        self.challenge = ChallengeService(calls)
        self.coaching = CoachingService(calls)
        self.matching = MatchingService(calls)
        self.meetup = MeetupService(calls)
        self.notification = NotificationService(calls)
        self.rate_limit = RateLimitService(calls)
        self.session = SessionService(calls)
        self.system = SystemService(calls)
