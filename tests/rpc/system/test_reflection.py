"""Reflection, under both of its names."""

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry

from support.edge import channel_to
from wingmanmatch_server.bootstrap import SERVICES, Application
from wingmanmatch_server.system import reflection
from wingmanmatch_server.system.health import Health

Question = reflection_pb2.ServerReflectionRequest


async def ask(version: str, question: Question) -> reflection_pb2.ServerReflectionResponse:
    """Put one question to a server that reflects every service."""
    handlers = reflection.reflection_handlers(service.full_name for service in SERVICES)
    application = Application(handlers, Health(()), CollectorRegistry())
    async with channel_to(application) as channel:
        call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=Question.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([question]), timeout=5)
        (answer,) = [each async for each in call]
        return answer


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_services_are_listed(version: str) -> None:
    """Clients of either version see every service of the API."""
    answer = await ask(version, Question(list_services=""))
    listed = {service.name for service in answer.list_services_response.service}
    assert listed >= {service.full_name for service in SERVICES}


@pytest.mark.parametrize(
    "symbol", ["MatchingService", "MatchingService.GetMatch", "GetMatchRequest", "GetMatchRequest.user_id"]
)
async def test_symbols_of_every_kind_are_found(symbol: str) -> None:
    """Services, methods, messages and fields lead to the file that defines them."""
    answer = await ask("v1alpha", Question(file_containing_symbol=f"wingmanmatch.matching.v1.{symbol}"))
    protos = answer.file_descriptor_response.file_descriptor_proto
    names = {descriptor_pb2.FileDescriptorProto.FromString(proto).name for proto in protos}
    assert "wingmanmatch/matching/v1/matching_service.proto" in names


@pytest.mark.parametrize("symbol", ["", "nothing", "wingmanmatch.matching.v1.MatchingService.Nothing"])
async def test_unknown_symbols_are_not_found(symbol: str) -> None:
    """What does not exist is an answer, not a failure."""
    answer = await ask("v1alpha", Question(file_containing_symbol=symbol))
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
