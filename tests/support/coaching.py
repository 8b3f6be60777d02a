"""Asks the coach over gRPC."""

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass, field

import grpc

from support.edge import Failure
from support.requests import TIMEOUT
from support.stubs import Stubs
from wingmanmatch.coaching.v1 import coaching_pb2, coaching_service_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2


@dataclass(slots=True)
class Told:
    """What came of a stream, and by what error it ended, if by one."""

    pieces: list[str] = field(default_factory=list)
    done: coaching_service_pb2.ChatDone | None = None
    error: grpc.aio.AioRpcError | None = None

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def failure(self) -> Failure:
        """How the stream failed."""
        assert self.error is not None
        return Failure(self.error)

    @property
    def conversation_id(self) -> str:
        """The conversation of an answer that was given to its end."""
        assert self.done is not None
        return self.done.conversation_id


async def ask(
    client: Stubs, user_id: str, message: str, conversation_id: str = "", *, patience: float = TIMEOUT
) -> Told:
    """Send a message and read the answer to its end."""
    request = coaching_service_pb2.ChatRequest(user_id=user_id, message=message, conversation_id=conversation_id)
    return await read(client.coaching.Chat(request, timeout=patience))


async def read(call: AsyncIterable[coaching_service_pb2.ChatResponse]) -> Told:
    """Read an answer to its end."""
    told = Told()
    try:
        async for response in call:
            assert told.done is None, "something came after the end"
            if response.WhichOneof("event") == "done":
                told.done = response.done
            else:
                told.pieces.append(response.text_delta)
    except grpc.aio.AioRpcError as error:
        told.error = error
    return told


async def conversation_of(client: Stubs, user_id: str, conversation_id: str) -> coaching_pb2.Conversation:
    """Return a conversation."""
    request = coaching_service_pb2.GetConversationRequest(user_id=user_id, conversation_id=conversation_id)
    answer = await client.coaching.GetConversation(request, timeout=TIMEOUT)
    return answer.conversation


async def tokens_left(client: Stubs, user_id: str) -> int:
    """Return what is left of a person's budget."""
    descriptor = rate_limit_pb2.RateLimitDescriptor(policy="coaching_tokens", subject=user_id)
    request = rate_limit_service_pb2.PeekRateLimitRequest(descriptors=[descriptor])
    async with asyncio.timeout(TIMEOUT):
        while (answer := await client.rate_limit.PeekRateLimit(request, timeout=TIMEOUT)).degraded:
            await asyncio.sleep(0.01)  # Redis was too slow to say, as on a busy machine
    return int(answer.results[0].remaining)
