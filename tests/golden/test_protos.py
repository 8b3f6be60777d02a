"""The protos keep their own rules, and `generated/` is what they say."""

import re
import subprocess
import sys
from itertools import pairwise

import protovalidate
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, MethodOptions
from google.protobuf.message_factory import GetMessageClass
from protovalidate._gen.buf.validate import validate_pb as published

from buf.validate import validate_pb2
from support.protos import PROTOS, methods, policy, request_fields, sources
from wingmanmatch.error.v1 import error_reason_pb2
from wingmanmatch.options.v1 import options_pb2

RATE_LIMITS = {"public_api", "auth_endpoint", "match_request", "email_send", "challenge_submit"}

# RPCs without a rate limit of their own, and why.
UNLIMITED = {
    "wingmanmatch.ratelimit.v1.RateLimitService": "it is the rate limit",
    "envoy.service.ratelimit.v3.RateLimitService": "it is the rate limit",
    "wingmanmatch.system.v1.SystemService": "operators need it most when everything else is refused",
    "wingmanmatch.session.v1.SessionService.GetSession": "a back end calls it with every request of every person",
    "wingmanmatch.session.v1.SessionService.UpdateSession": "a back end calls it with every request of every person",
    "wingmanmatch.session.v1.SessionService.TouchSession": "a back end calls it with every request of every person",
    "wingmanmatch.session.v1.SessionService.DeleteSession": "nobody is kept from signing out",
    "wingmanmatch.notification.v1.NotificationService.SendNotification": "the service itself charges the recipient",
    "wingmanmatch.notification.v1.NotificationService.RecordDeliveryEvent": "the signature proves where it comes from",
}

# Mutations without a request_id, and why a second call does no harm.
NATURALLY_IDEMPOTENT = {
    "wingmanmatch.coaching.v1.CoachingService.DeleteConversation": "gone stays gone",
    "wingmanmatch.notification.v1.NotificationService.RecordDeliveryEvent": "the event carries the provider's own id",
    "wingmanmatch.ratelimit.v1.RateLimitService.ResetRateLimit": "a full bucket stays full",
    "wingmanmatch.ratelimit.v1.RateLimitService.StreamCheckRateLimit": "each check carries its own request_id",
    "wingmanmatch.session.v1.SessionService.DeleteSession": "gone stays gone",
    "wingmanmatch.session.v1.SessionService.DeleteUserSessions": "gone stays gone",
    "wingmanmatch.session.v1.SessionService.GetSession": "extending twice is extending once",
    "wingmanmatch.session.v1.SessionService.TouchSession": "extending twice is extending once",
    "wingmanmatch.system.v1.SystemService.ResetCircuitBreaker": "a closed breaker stays closed",
}

# RPCs that may stay open for as long as the caller likes.
OPEN_ENDED = {
    "wingmanmatch.matching.v1.MatchingService.WatchMatches",
    "wingmanmatch.ratelimit.v1.RateLimitService.StreamCheckRateLimit",
}

# RPCs whose handlers admit the call, and the test that an ordinary call of it is charged and needs a place.
ADMITTED_BY_HANDLER = {"wingmanmatch.coaching.v1.CoachingService.Chat": "tests/attacks/coach/test_crisis.py"}

# RPCs for users that act for nobody in particular.
FOR_ANY_USER = {"wingmanmatch.matching.v1.MatchingService.GetReputation"}

# Secrets and cursors that the server checks as a whole, with one answer for every defect.
OPAQUE = {"page_token", "resume_token", "token"}

# Messages of Google's whose size no rule bounds; the service does.
BOUNDED_BY_SERVICE = {
    "wingmanmatch.session.v1.CreateSessionRequest.data",
    "wingmanmatch.session.v1.UpdateSessionRequest.data",
}
FIXED_SIZE = {
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
    "google.protobuf.UInt64Value",
    "google.type.LatLng",
}

OURS = [method for method in methods() if method.full_name.startswith("wingmanmatch.")]

every_method = pytest.mark.parametrize("method", methods(), ids=lambda method: method.full_name)


def test_generated_code_is_fresh() -> None:
    """`generated/` is byte for byte what the generator makes of the protos."""
    command = (sys.executable, str(PROTOS / "generate.py"), "--check")
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@every_method
def test_each_method_says_who_may_call(method: MethodDescriptor) -> None:
    """An RPC carries a policy with an access, and one for users says which field names the user."""
    access = policy(method).access
    assert access != options_pb2.ACCESS_UNSPECIFIED
    if access == options_pb2.ACCESS_USER:
        assert policy(method).user_field or method.full_name in FOR_ANY_USER


@every_method
def test_the_user_field_is_text_in_the_request(method: MethodDescriptor) -> None:
    """The path in `user_field` leads through the request to one string."""
    message: Descriptor | None = method.input_type
    field: FieldDescriptor | None = None
    for name in filter(None, policy(method).user_field.split(".")):
        assert message is not None
        field = message.fields_by_name[name]
        message = field.message_type
    assert field is None or (field.type == field.TYPE_STRING and not field.is_repeated)


@every_method
def test_each_rate_limit_is_known(method: MethodDescriptor) -> None:
    """An RPC names a rate limit policy that exists, or stands in the list of those without one."""
    unlimited = method.full_name in UNLIMITED or method.containing_service.full_name in UNLIMITED
    assert policy(method).rate_limit in ({""} if unlimited else RATE_LIMITS)


@every_method
def test_handlers_that_admit_are_listed(method: MethodDescriptor) -> None:
    """A handler that admits its calls itself has a rate limit to charge, and a test that it does."""
    by_handler = policy(method).admitted_by_handler
    assert by_handler == (method.full_name in ADMITTED_BY_HANDLER)
    assert not by_handler or policy(method).rate_limit


@every_method
def test_each_call_ends(method: MethodDescriptor) -> None:
    """An RPC has a default deadline above zero, unless it may stay open."""
    has_deadline = policy(method).default_deadline.ToTimedelta().total_seconds() > 0
    assert has_deadline == (method.full_name not in OPEN_ENDED)


@every_method
def test_each_mutation_can_be_repeated(method: MethodDescriptor) -> None:
    """A mutation has a `request_id`, or stands in the list of those that need none."""
    if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENT:
        assert method.full_name not in NATURALLY_IDEMPOTENT
        return
    assert ("request_id" in method.input_type.fields_by_name) == (method.full_name not in NATURALLY_IDEMPOTENT)


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """Return what protovalidate checks of the field."""
    return field.GetOptions().Extensions[validate_pb2.field]


def is_bounded(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> bool:
    """Whether the rules bound one value of the field."""
    if field.type == field.TYPE_STRING:
        text = rules.string
        return text.uuid or bool(text.max_len or text.max_bytes or text.len or getattr(text, "in"))
    if field.type == field.TYPE_BYTES:
        return rules.bytes.max_len > 0
    if field.type == field.TYPE_ENUM:
        return rules.enum.defined_only
    if field.message_type is not None and field.message_type.full_name.startswith("google."):
        return field.message_type.full_name in FIXED_SIZE or field.full_name in BOUNDED_BY_SERVICE
    return True


@every_method
def test_each_request_field_is_bounded(method: MethodDescriptor) -> None:
    """Texts, bytes, lists and enums of a request have a bound, however deep they lie."""
    unbounded = []
    for field in request_fields(method.input_type):
        rules = rules_of(field)
        value_rules = rules.repeated.items if field.is_repeated else rules
        if not is_bounded(field, value_rules) or (field.is_repeated and not rules.repeated.max_items):
            unbounded.append(field.full_name)
    assert unbounded == []


@pytest.mark.parametrize("method", OURS, ids=lambda method: method.full_name)
def test_no_stored_text_takes_nul(method: MethodDescriptor) -> None:
    """A text that PostgreSQL could be asked to store has a form; the forms exclude NUL, which PostgreSQL refuses."""
    texts = [field for field in request_fields(method.input_type) if field.type == field.TYPE_STRING]
    rules = {field.full_name: rules_of(field).string for field in texts if field.name not in OPAQUE}
    formless = [name for name, rule in rules.items() if not (rule.WhichOneof("well_known") or rule.pattern)]
    assert formless == []


@every_method
def test_the_rules_of_each_request_compile(method: MethodDescriptor) -> None:
    """The validator understands every rule of the request."""
    request = GetMessageClass(method.input_type)()
    assert isinstance(protovalidate.collect_violations(request), list)


def test_each_reason_is_short_and_prefixed() -> None:
    """A reason is at most 63 characters of upper case, as `google.rpc.ErrorInfo` demands."""
    names = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()]  # noqa: SIM118
    assert [name for name in names if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,61}[A-Z0-9]", name)] == []


def test_each_reason_that_a_comment_names_exists() -> None:
    """The reasons in the comments of RPCs are values of ErrorReason, and every service names some."""
    known = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    named: dict[str, set[str]] = {}
    for source in sources():
        text = re.sub(r"\n\s*//", "", source.read_text("utf-8"))
        lists = re.findall(r"Reasons:\s+([^.]+)\.", text)
        named[source.name] = {reason for reasons in lists for reason in re.split(r",\s+", reasons)}
    assert set.union(*named.values()) - known == set()
    assert len(set.union(*named.values())) > 20


def test_methods_take_and_give_their_own_messages() -> None:
    """No two RPCs of a service share a request or response, so each may grow by itself."""
    types = sorted(kind.full_name for method in methods() for kind in (method.input_type, method.output_type))
    assert [left for left, right in pairwise(types) if left == right] == []


def published_rules() -> FileDescriptorProto:
    """Return protovalidate's own description of its rules."""
    file = next(value for value in vars(published).values() if type(value).__name__ == "DescFile")
    return FileDescriptorProto.FromString(file.proto.to_binary())


def shape(kind: DescriptorProto) -> set[tuple[str, int, int, int, str]]:
    """Return what the wire knows of a message's fields."""
    return {(field.name, field.number, field.type, field.label, field.type_name) for field in kind.field}


def values(kind: EnumDescriptorProto) -> set[tuple[str, int]]:
    """Return the names and numbers of an enum."""
    return {(value.name, value.number) for value in kind.value}


def test_our_rules_are_part_of_the_published_ones() -> None:
    """Each message, field, enum value and extension of our validate.proto is protovalidate's, in number and type."""
    ours, theirs = FileDescriptorProto(), published_rules()
    validate_pb2.DESCRIPTOR.CopyToProto(ours)
    messages = {message.name: message for message in theirs.message_type}
    enums = {enum.name: enum for enum in theirs.enum_type}
    extensions = {(field.name, field.number, field.type_name, field.extendee) for field in theirs.extension}
    assert ours.package == theirs.package
    assert {message.name: shape(message) - shape(messages[message.name]) for message in ours.message_type} == {
        message.name: set() for message in ours.message_type
    }
    assert all(values(enum) <= values(enums[enum.name]) for enum in ours.enum_type)
    assert {(field.name, field.number, field.type_name, field.extendee) for field in ours.extension} <= extensions
