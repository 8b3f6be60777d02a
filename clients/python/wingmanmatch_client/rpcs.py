"""Every RPC of the API.

Written by protos/generate_client.py from the protos: change those instead.
"""

from typing import Any

from wingmanmatch.challenge.v1 import challenge_service_pb2
from wingmanmatch.coaching.v1 import coaching_service_pb2
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.meetup.v1 import meetup_service_pb2
from wingmanmatch.notification.v1 import notification_service_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_service_pb2
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_client.rpc import Rpc

CHALLENGE_LIST_CHALLENGES = Rpc(
    "ChallengeService",
    "ListChallenges",
    challenge_service_pb2.ListChallengesRequest,
    challenge_service_pb2.ListChallengesResponse,
)
CHALLENGE_GET_CHALLENGE = Rpc(
    "ChallengeService",
    "GetChallenge",
    challenge_service_pb2.GetChallengeRequest,
    challenge_service_pb2.GetChallengeResponse,
)
CHALLENGE_START_CHALLENGE = Rpc(
    "ChallengeService",
    "StartChallenge",
    challenge_service_pb2.StartChallengeRequest,
    challenge_service_pb2.StartChallengeResponse,
)
CHALLENGE_SUBMIT_CHALLENGE = Rpc(
    "ChallengeService",
    "SubmitChallenge",
    challenge_service_pb2.SubmitChallengeRequest,
    challenge_service_pb2.SubmitChallengeResponse,
)
CHALLENGE_LIST_USER_CHALLENGES = Rpc(
    "ChallengeService",
    "ListUserChallenges",
    challenge_service_pb2.ListUserChallengesRequest,
    challenge_service_pb2.ListUserChallengesResponse,
)
CHALLENGE_SHARE_CHALLENGE = Rpc(
    "ChallengeService",
    "ShareChallenge",
    challenge_service_pb2.ShareChallengeRequest,
    challenge_service_pb2.ShareChallengeResponse,
)
CHALLENGE_RESOLVE_SHARE_LINK = Rpc(
    "ChallengeService",
    "ResolveShareLink",
    challenge_service_pb2.ResolveShareLinkRequest,
    challenge_service_pb2.ResolveShareLinkResponse,
)
CHALLENGE_REVOKE_SHARE_LINK = Rpc(
    "ChallengeService",
    "RevokeShareLink",
    challenge_service_pb2.RevokeShareLinkRequest,
    challenge_service_pb2.RevokeShareLinkResponse,
)
COACHING_CHAT = Rpc("CoachingService", "Chat", coaching_service_pb2.ChatRequest, coaching_service_pb2.ChatResponse)
COACHING_GET_CONVERSATION = Rpc(
    "CoachingService",
    "GetConversation",
    coaching_service_pb2.GetConversationRequest,
    coaching_service_pb2.GetConversationResponse,
)
COACHING_DELETE_CONVERSATION = Rpc(
    "CoachingService",
    "DeleteConversation",
    coaching_service_pb2.DeleteConversationRequest,
    coaching_service_pb2.DeleteConversationResponse,
)
COACHING_SUGGEST_MEETUP_PLAN = Rpc(
    "CoachingService",
    "SuggestMeetupPlan",
    coaching_service_pb2.SuggestMeetupPlanRequest,
    coaching_service_pb2.SuggestMeetupPlanResponse,
)
MATCHING_UPSERT_PROFILE = Rpc(
    "MatchingService",
    "UpsertProfile",
    matching_service_pb2.UpsertProfileRequest,
    matching_service_pb2.UpsertProfileResponse,
)
MATCHING_GET_PROFILE = Rpc(
    "MatchingService", "GetProfile", matching_service_pb2.GetProfileRequest, matching_service_pb2.GetProfileResponse
)
MATCHING_DELETE_PROFILE = Rpc(
    "MatchingService",
    "DeleteProfile",
    matching_service_pb2.DeleteProfileRequest,
    matching_service_pb2.DeleteProfileResponse,
)
MATCHING_LIST_CANDIDATES = Rpc(
    "MatchingService",
    "ListCandidates",
    matching_service_pb2.ListCandidatesRequest,
    matching_service_pb2.ListCandidatesResponse,
)
MATCHING_REQUEST_MATCH = Rpc(
    "MatchingService",
    "RequestMatch",
    matching_service_pb2.RequestMatchRequest,
    matching_service_pb2.RequestMatchResponse,
)
MATCHING_RESPOND_TO_MATCH = Rpc(
    "MatchingService",
    "RespondToMatch",
    matching_service_pb2.RespondToMatchRequest,
    matching_service_pb2.RespondToMatchResponse,
)
MATCHING_CANCEL_MATCH = Rpc(
    "MatchingService", "CancelMatch", matching_service_pb2.CancelMatchRequest, matching_service_pb2.CancelMatchResponse
)
MATCHING_END_MATCH = Rpc(
    "MatchingService", "EndMatch", matching_service_pb2.EndMatchRequest, matching_service_pb2.EndMatchResponse
)
MATCHING_GET_MATCH = Rpc(
    "MatchingService", "GetMatch", matching_service_pb2.GetMatchRequest, matching_service_pb2.GetMatchResponse
)
MATCHING_LIST_MATCHES = Rpc(
    "MatchingService", "ListMatches", matching_service_pb2.ListMatchesRequest, matching_service_pb2.ListMatchesResponse
)
MATCHING_WATCH_MATCHES = Rpc(
    "MatchingService",
    "WatchMatches",
    matching_service_pb2.WatchMatchesRequest,
    matching_service_pb2.WatchMatchesResponse,
)
MATCHING_BLOCK_USER = Rpc(
    "MatchingService", "BlockUser", matching_service_pb2.BlockUserRequest, matching_service_pb2.BlockUserResponse
)
MATCHING_UNBLOCK_USER = Rpc(
    "MatchingService", "UnblockUser", matching_service_pb2.UnblockUserRequest, matching_service_pb2.UnblockUserResponse
)
MATCHING_GET_REPUTATION = Rpc(
    "MatchingService",
    "GetReputation",
    matching_service_pb2.GetReputationRequest,
    matching_service_pb2.GetReputationResponse,
)
MATCHING_EXPORT_PROFILE = Rpc(
    "MatchingService",
    "ExportProfile",
    matching_service_pb2.ExportProfileRequest,
    matching_service_pb2.ExportProfileResponse,
)
MATCHING_SHARE_MATCH = Rpc(
    "MatchingService", "ShareMatch", matching_service_pb2.ShareMatchRequest, matching_service_pb2.ShareMatchResponse
)
MATCHING_RESOLVE_SHARE_LINK = Rpc(
    "MatchingService",
    "ResolveShareLink",
    matching_service_pb2.ResolveShareLinkRequest,
    matching_service_pb2.ResolveShareLinkResponse,
)
MATCHING_REVOKE_SHARE_LINK = Rpc(
    "MatchingService",
    "RevokeShareLink",
    matching_service_pb2.RevokeShareLinkRequest,
    matching_service_pb2.RevokeShareLinkResponse,
)
MEETUP_SCHEDULE_MEETUP = Rpc(
    "MeetupService",
    "ScheduleMeetup",
    meetup_service_pb2.ScheduleMeetupRequest,
    meetup_service_pb2.ScheduleMeetupResponse,
)
MEETUP_GET_MEETUP = Rpc(
    "MeetupService", "GetMeetup", meetup_service_pb2.GetMeetupRequest, meetup_service_pb2.GetMeetupResponse
)
MEETUP_LIST_MEETUPS = Rpc(
    "MeetupService", "ListMeetups", meetup_service_pb2.ListMeetupsRequest, meetup_service_pb2.ListMeetupsResponse
)
MEETUP_RESCHEDULE_MEETUP = Rpc(
    "MeetupService",
    "RescheduleMeetup",
    meetup_service_pb2.RescheduleMeetupRequest,
    meetup_service_pb2.RescheduleMeetupResponse,
)
MEETUP_CANCEL_MEETUP = Rpc(
    "MeetupService", "CancelMeetup", meetup_service_pb2.CancelMeetupRequest, meetup_service_pb2.CancelMeetupResponse
)
MEETUP_CONFIRM_MEETUP = Rpc(
    "MeetupService", "ConfirmMeetup", meetup_service_pb2.ConfirmMeetupRequest, meetup_service_pb2.ConfirmMeetupResponse
)
MEETUP_REPORT_NO_SHOW = Rpc(
    "MeetupService", "ReportNoShow", meetup_service_pb2.ReportNoShowRequest, meetup_service_pb2.ReportNoShowResponse
)
MEETUP_UPDATE_MEETUP_NOTES = Rpc(
    "MeetupService",
    "UpdateMeetupNotes",
    meetup_service_pb2.UpdateMeetupNotesRequest,
    meetup_service_pb2.UpdateMeetupNotesResponse,
)
NOTIFICATION_SEND_NOTIFICATION = Rpc(
    "NotificationService",
    "SendNotification",
    notification_service_pb2.SendNotificationRequest,
    notification_service_pb2.SendNotificationResponse,
)
NOTIFICATION_PREVIEW_NOTIFICATION = Rpc(
    "NotificationService",
    "PreviewNotification",
    notification_service_pb2.PreviewNotificationRequest,
    notification_service_pb2.PreviewNotificationResponse,
)
NOTIFICATION_GET_NOTIFICATION = Rpc(
    "NotificationService",
    "GetNotification",
    notification_service_pb2.GetNotificationRequest,
    notification_service_pb2.GetNotificationResponse,
)
NOTIFICATION_LIST_NOTIFICATIONS = Rpc(
    "NotificationService",
    "ListNotifications",
    notification_service_pb2.ListNotificationsRequest,
    notification_service_pb2.ListNotificationsResponse,
)
NOTIFICATION_CANCEL_NOTIFICATION = Rpc(
    "NotificationService",
    "CancelNotification",
    notification_service_pb2.CancelNotificationRequest,
    notification_service_pb2.CancelNotificationResponse,
)
NOTIFICATION_RETRY_NOTIFICATION = Rpc(
    "NotificationService",
    "RetryNotification",
    notification_service_pb2.RetryNotificationRequest,
    notification_service_pb2.RetryNotificationResponse,
)
NOTIFICATION_GET_PREFERENCES = Rpc(
    "NotificationService",
    "GetPreferences",
    notification_service_pb2.GetPreferencesRequest,
    notification_service_pb2.GetPreferencesResponse,
)
NOTIFICATION_UPDATE_PREFERENCES = Rpc(
    "NotificationService",
    "UpdatePreferences",
    notification_service_pb2.UpdatePreferencesRequest,
    notification_service_pb2.UpdatePreferencesResponse,
)
NOTIFICATION_RECORD_DELIVERY_EVENT = Rpc(
    "NotificationService",
    "RecordDeliveryEvent",
    notification_service_pb2.RecordDeliveryEventRequest,
    notification_service_pb2.RecordDeliveryEventResponse,
)
RATE_LIMIT_CHECK_RATE_LIMIT = Rpc(
    "RateLimitService",
    "CheckRateLimit",
    rate_limit_service_pb2.CheckRateLimitRequest,
    rate_limit_service_pb2.CheckRateLimitResponse,
)
RATE_LIMIT_PEEK_RATE_LIMIT = Rpc(
    "RateLimitService",
    "PeekRateLimit",
    rate_limit_service_pb2.PeekRateLimitRequest,
    rate_limit_service_pb2.PeekRateLimitResponse,
)
RATE_LIMIT_RESET_RATE_LIMIT = Rpc(
    "RateLimitService",
    "ResetRateLimit",
    rate_limit_service_pb2.ResetRateLimitRequest,
    rate_limit_service_pb2.ResetRateLimitResponse,
)
RATE_LIMIT_REFUND_RATE_LIMIT = Rpc(
    "RateLimitService",
    "RefundRateLimit",
    rate_limit_service_pb2.RefundRateLimitRequest,
    rate_limit_service_pb2.RefundRateLimitResponse,
)
RATE_LIMIT_LIST_POLICIES = Rpc(
    "RateLimitService",
    "ListPolicies",
    rate_limit_service_pb2.ListPoliciesRequest,
    rate_limit_service_pb2.ListPoliciesResponse,
)
RATE_LIMIT_STREAM_CHECK_RATE_LIMIT = Rpc(
    "RateLimitService",
    "StreamCheckRateLimit",
    rate_limit_service_pb2.StreamCheckRateLimitRequest,
    rate_limit_service_pb2.StreamCheckRateLimitResponse,
)
SESSION_CREATE_SESSION = Rpc(
    "SessionService",
    "CreateSession",
    session_service_pb2.CreateSessionRequest,
    session_service_pb2.CreateSessionResponse,
)
SESSION_GET_SESSION = Rpc(
    "SessionService", "GetSession", session_service_pb2.GetSessionRequest, session_service_pb2.GetSessionResponse
)
SESSION_UPDATE_SESSION = Rpc(
    "SessionService",
    "UpdateSession",
    session_service_pb2.UpdateSessionRequest,
    session_service_pb2.UpdateSessionResponse,
)
SESSION_TOUCH_SESSION = Rpc(
    "SessionService", "TouchSession", session_service_pb2.TouchSessionRequest, session_service_pb2.TouchSessionResponse
)
SESSION_DELETE_SESSION = Rpc(
    "SessionService",
    "DeleteSession",
    session_service_pb2.DeleteSessionRequest,
    session_service_pb2.DeleteSessionResponse,
)
SESSION_LIST_SESSIONS = Rpc(
    "SessionService", "ListSessions", session_service_pb2.ListSessionsRequest, session_service_pb2.ListSessionsResponse
)
SESSION_DELETE_USER_SESSIONS = Rpc(
    "SessionService",
    "DeleteUserSessions",
    session_service_pb2.DeleteUserSessionsRequest,
    session_service_pb2.DeleteUserSessionsResponse,
)
SYSTEM_GET_STATUS = Rpc(
    "SystemService", "GetStatus", system_service_pb2.GetStatusRequest, system_service_pb2.GetStatusResponse
)
SYSTEM_LIST_CIRCUIT_BREAKERS = Rpc(
    "SystemService",
    "ListCircuitBreakers",
    system_service_pb2.ListCircuitBreakersRequest,
    system_service_pb2.ListCircuitBreakersResponse,
)
SYSTEM_RESET_CIRCUIT_BREAKER = Rpc(
    "SystemService",
    "ResetCircuitBreaker",
    system_service_pb2.ResetCircuitBreakerRequest,
    system_service_pb2.ResetCircuitBreakerResponse,
)

RPCS: tuple[Rpc[Any, Any], ...] = (
    CHALLENGE_LIST_CHALLENGES,
    CHALLENGE_GET_CHALLENGE,
    CHALLENGE_START_CHALLENGE,
    CHALLENGE_SUBMIT_CHALLENGE,
    CHALLENGE_LIST_USER_CHALLENGES,
    CHALLENGE_SHARE_CHALLENGE,
    CHALLENGE_RESOLVE_SHARE_LINK,
    CHALLENGE_REVOKE_SHARE_LINK,
    COACHING_CHAT,
    COACHING_GET_CONVERSATION,
    COACHING_DELETE_CONVERSATION,
    COACHING_SUGGEST_MEETUP_PLAN,
    MATCHING_UPSERT_PROFILE,
    MATCHING_GET_PROFILE,
    MATCHING_DELETE_PROFILE,
    MATCHING_LIST_CANDIDATES,
    MATCHING_REQUEST_MATCH,
    MATCHING_RESPOND_TO_MATCH,
    MATCHING_CANCEL_MATCH,
    MATCHING_END_MATCH,
    MATCHING_GET_MATCH,
    MATCHING_LIST_MATCHES,
    MATCHING_WATCH_MATCHES,
    MATCHING_BLOCK_USER,
    MATCHING_UNBLOCK_USER,
    MATCHING_GET_REPUTATION,
    MATCHING_EXPORT_PROFILE,
    MATCHING_SHARE_MATCH,
    MATCHING_RESOLVE_SHARE_LINK,
    MATCHING_REVOKE_SHARE_LINK,
    MEETUP_SCHEDULE_MEETUP,
    MEETUP_GET_MEETUP,
    MEETUP_LIST_MEETUPS,
    MEETUP_RESCHEDULE_MEETUP,
    MEETUP_CANCEL_MEETUP,
    MEETUP_CONFIRM_MEETUP,
    MEETUP_REPORT_NO_SHOW,
    MEETUP_UPDATE_MEETUP_NOTES,
    NOTIFICATION_SEND_NOTIFICATION,
    NOTIFICATION_PREVIEW_NOTIFICATION,
    NOTIFICATION_GET_NOTIFICATION,
    NOTIFICATION_LIST_NOTIFICATIONS,
    NOTIFICATION_CANCEL_NOTIFICATION,
    NOTIFICATION_RETRY_NOTIFICATION,
    NOTIFICATION_GET_PREFERENCES,
    NOTIFICATION_UPDATE_PREFERENCES,
    NOTIFICATION_RECORD_DELIVERY_EVENT,
    RATE_LIMIT_CHECK_RATE_LIMIT,
    RATE_LIMIT_PEEK_RATE_LIMIT,
    RATE_LIMIT_RESET_RATE_LIMIT,
    RATE_LIMIT_REFUND_RATE_LIMIT,
    RATE_LIMIT_LIST_POLICIES,
    RATE_LIMIT_STREAM_CHECK_RATE_LIMIT,
    SESSION_CREATE_SESSION,
    SESSION_GET_SESSION,
    SESSION_UPDATE_SESSION,
    SESSION_TOUCH_SESSION,
    SESSION_DELETE_SESSION,
    SESSION_LIST_SESSIONS,
    SESSION_DELETE_USER_SESSIONS,
    SYSTEM_GET_STATUS,
    SYSTEM_LIST_CIRCUIT_BREAKERS,
    SYSTEM_RESET_CIRCUIT_BREAKER,
)
