"""What callers do with the client, by asyncio and without."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from google.protobuf.json_format import MessageToDict

from support.faces import Face
from support.requests import profile
from wingmanmatch.matching.v1 import matching_pb2
from wingmanmatch.ratelimit.v1 import rate_limit_pb2, rate_limit_service_pb2
from wingmanmatch_client import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unauthenticated,
    error_of_status,
)


async def join(face: Face, count: int) -> list[str]:
    """Create people near one another and far from everybody else, and return their ids."""
    first = profile()
    people = [first, *(profile(location=first.location) for _ in range(count - 1))]
    for person in people:
        await face.call("matching", "upsert_profile", profile=person)
    return [person.user_id for person in people]


async def test_match_from_candidates_to_acceptance(face: Face) -> None:
    """Candidates over all pages, an invitation, its acceptance, and the events of it all."""
    ada, ben, *others = await join(face, 6)
    events = face.open("matching", "watch_matches", user_id=ben, heartbeats=True)
    assert not (await anext(events)).HasField("event")
    candidates = await face.read("matching", "iter_candidates", user_id=ada, page_size=2)
    assert {candidate.user_id for candidate in candidates} == {ben, *others}
    invited = await face.call("matching", "request_match", user_id=ada, candidate_user_id=ben)
    accepted = await face.call(
        "matching",
        "respond_to_match",
        match_id=invited.match.id,
        user_id=ben,
        response=matching_pb2.MATCH_RESPONSE_ACCEPT,
    )
    assert accepted.match.state == matching_pb2.MATCH_STATE_ACCEPTED
    kinds = [(await anext(events)).event.kind for _ in range(2)]
    assert kinds == [matching_pb2.MATCH_EVENT_KIND_REQUESTED, matching_pb2.MATCH_EVENT_KIND_ACCEPTED]
    await events.aclose()
    matches = await face.read("matching", "iter_matches", user_id=ada)
    assert [match.id for match in matches] == [invited.match.id]


async def test_repeated_mutation_counts_once(face: Face) -> None:
    """Who got no answer repeats the call with the id that the error told, and gets the first answer."""
    ada, ben = await join(face, 2)
    request_id = str(uuid.uuid4())
    calls = [
        face.call("matching", "request_match", user_id=ada, candidate_user_id=ben, request_id=request_id)
        for _ in range(2)
    ]
    first, second = await asyncio.gather(*calls)
    assert first == second
    with pytest.raises(FailedPrecondition) as caught:
        await face.call("matching", "request_match", user_id=ada, candidate_user_id=ben)
    assert caught.value.reason == "PENDING_MATCH_EXISTS"
    assert caught.value.metadata["match_id"] == first.match.id
    assert caught.value.request_id not in ("", request_id)


async def test_wrong_input_names_the_field(face: Face) -> None:
    """What the server's rules refuse is told field by field."""
    with pytest.raises(InvalidArgument) as caught:
        await face.call("matching", "get_profile", user_id="nobody")
    (violation,) = caught.value.violations
    assert (caught.value.reason, violation.field, violation.rule) == ("FIELD_INVALID", "user_id", "string.uuid")


async def test_session(face: Face) -> None:
    """A session's data go in and come out as JSON would have them; a lost race is told."""
    user_id = str(uuid.uuid4())
    data = {"theme": "dark", "seen": [1.0, None, {"a": True}]}
    opened = await face.call("session", "create_session", user_id=user_id, data=data, ttl=timedelta(minutes=5))
    session = (await face.call("session", "get_session", token=opened.token)).session
    assert MessageToDict(session.data) == data
    await face.call("session", "update_session", token=opened.token, data={}, expected_version=session.version)
    with pytest.raises(Aborted) as caught:
        await face.call("session", "update_session", token=opened.token, data={}, expected_version=session.version)
    assert caught.value.reason == "SESSION_VERSION_MISMATCH"
    assert len(await face.read("session", "iter_sessions", user_id=user_id)) == 1
    await face.call("session", "delete_session", token=opened.token)
    with pytest.raises(Unauthenticated):
        await face.call("session", "get_session", token=opened.token)


async def test_stream_of_checks(face: Face) -> None:
    """Checks are answered in their order, and one that cannot be carries its error."""
    subject = str(uuid.uuid4())
    policies = ("email_send", "no_such_policy", "email_send")
    checks = [
        rate_limit_service_pb2.StreamCheckRateLimitRequest(
            check={"descriptors": [rate_limit_pb2.RateLimitDescriptor(policy=policy, subject=subject, cost=1)]}
        )
        for policy in policies
    ]
    answers = await face.read("rate_limit", "stream_check_rate_limit", requests=checks)
    assert [answer.WhichOneof("outcome") for answer in answers] == ["check", "error", "check"]
    error = error_of_status(answers[1].error)
    assert (type(error), error.reason) == (NotFound, "RATE_LIMIT_POLICY_NOT_FOUND")


async def test_export_is_a_stream(face: Face) -> None:
    """Records come one by one."""
    (ada,) = await join(face, 1)
    kinds = {record.kind for record in await face.read("matching", "export_profile", user_id=ada)}
    assert matching_pb2.EXPORT_RECORD_KIND_PROFILE in kinds
