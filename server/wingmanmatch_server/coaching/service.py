"""CoachingService: translates between the wire and the coach."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from wingmanmatch.coaching.v1 import coaching_pb2, coaching_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.coaching.answer import Done
from wingmanmatch_server.coaching.coach import Coach
from wingmanmatch_server.coaching.conversation_store import ConversationStore
from wingmanmatch_server.coaching.history import Conversation, Message
from wingmanmatch_server.coaching.model import Author
from wingmanmatch_server.coaching.planner import Plan, Planner
from wingmanmatch_server.coaching.screening import Screening
from wingmanmatch_server.interceptors.chain import Call
from wingmanmatch_server.wire import canonical_id, timestamp

ROLES = {
    Author.PERSON: coaching_pb2.CONVERSATION_ROLE_PERSON,
    Author.COACH: coaching_pb2.CONVERSATION_ROLE_COACH,
}


class CoachingService:
    """Each method is the RPC of its name; `coaching_service.proto` has the contract."""

    def __init__(
        self, screening: Screening, coach: Coach | None, conversations: ConversationStore, planner: Planner
    ) -> None:
        """Without a coach only people in need are answered, and what was said can still be read and forgotten."""
        self._screening = screening
        self._coach = coach
        self._conversations = conversations
        self._planner = planner

    async def chat(
        self, request: coaching_service_pb2.ChatRequest, call: Call
    ) -> AsyncGenerator[coaching_service_pb2.ChatResponse, None]:
        """Answer a message."""
        user_id, message = canonical_id(request.user_id), request.message
        conversation_id = canonical_id(request.conversation_id) if request.conversation_id else None
        verdict = await self._screening.screen(user_id, message, partial(self._admit, call))
        if verdict.category is not None:
            answer = self._screening.redirect(user_id, conversation_id, message, verdict)
        else:
            answer = self._enabled_coach().chat(user_id, conversation_id, message, verdict)
        async with aclosing(answer) as events:
            async for event in events:
                yield _response(event)

    async def _admit(self, call: Call) -> None:
        await call.admit()
        self._enabled_coach()

    def _enabled_coach(self) -> Coach:
        if self._coach is None:
            raise errors.FailedPrecondition("FEATURE_DISABLED", "coaching is switched off", {"feature": "ai_coaching"})
        return self._coach

    async def get_conversation(
        self, request: coaching_service_pb2.GetConversationRequest, _call: Call
    ) -> coaching_service_pb2.GetConversationResponse:
        """Return a conversation."""
        conversation = await self._conversations.find(
            canonical_id(request.user_id), canonical_id(request.conversation_id)
        )
        return coaching_service_pb2.GetConversationResponse(conversation=message_of(conversation))

    async def delete_conversation(
        self, request: coaching_service_pb2.DeleteConversationRequest, _call: Call
    ) -> coaching_service_pb2.DeleteConversationResponse:
        """Forget a conversation."""
        await self._conversations.delete(canonical_id(request.user_id), canonical_id(request.conversation_id))
        return coaching_service_pb2.DeleteConversationResponse()

    async def suggest_meetup_plan(
        self, request: coaching_service_pb2.SuggestMeetupPlanRequest, _call: Call
    ) -> coaching_service_pb2.SuggestMeetupPlanResponse:
        """Propose a meet-up."""
        plan = await self._planner.propose(canonical_id(request.match_id), canonical_id(request.user_id))
        return coaching_service_pb2.SuggestMeetupPlanResponse(plan=_plan(plan))


def _response(event: str | Done) -> coaching_service_pb2.ChatResponse:
    if isinstance(event, str):
        return coaching_service_pb2.ChatResponse(text_delta=event)
    return coaching_service_pb2.ChatResponse(
        done=coaching_service_pb2.ChatDone(
            conversation_id=event.conversation_id,
            input_tokens=event.input_tokens,
            output_tokens=event.output_tokens,
            ending=coaching_pb2.ChatEnding.Value(f"CHAT_ENDING_{event.ending}"),
            remembered=event.remembered,
        )
    )


def message_of(conversation: Conversation) -> coaching_pb2.Conversation:
    """Return a conversation as the API shows it."""
    return coaching_pb2.Conversation(
        id=conversation.id,
        user_id=conversation.user_id,
        messages=[_message(each) for each in conversation.messages],
        summary=conversation.summary,
        create_time=timestamp(conversation.create_time),
        update_time=timestamp(conversation.update_time),
        expire_time=timestamp(conversation.expire_time),
    )


def _message(message: Message) -> coaching_pb2.ConversationMessage:
    return coaching_pb2.ConversationMessage(
        role=ROLES[message.author], text=message.text, create_time=timestamp(message.create_time)
    )


def _plan(plan: Plan) -> coaching_pb2.MeetupPlan:
    source = coaching_pb2.MEETUP_PLAN_SOURCE_COACH if plan.by_coach else coaching_pb2.MEETUP_PLAN_SOURCE_CATALOGUE
    return coaching_pb2.MeetupPlan(
        venue_idea=plan.venue_idea,
        explanation=plan.explanation,
        challenges=[
            coaching_pb2.PlannedChallenge(user_id=each.user_id, challenge_id=each.challenge_id, title=each.title)
            for each in plan.challenges
        ],
        source=source,
    )
