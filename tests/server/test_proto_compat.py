"""Our subset of ext_proc and envoy-data-plane's independent classes say the same thing on the wire."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, cast

import betterproto2
import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue, HeaderValueOption, Metadata
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    ExternalProcessorBase,
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Struct, Value
from envoy_data_plane.message_pool import default_message_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc import _proto
from extproc._proto import external_processor_pb2 as pb

PROTO_TYPE_NAMES = {
    FieldDescriptor.TYPE_BOOL: betterproto2.TYPE_BOOL,
    FieldDescriptor.TYPE_BYTES: betterproto2.TYPE_BYTES,
    FieldDescriptor.TYPE_ENUM: betterproto2.TYPE_ENUM,
    FieldDescriptor.TYPE_MESSAGE: betterproto2.TYPE_MESSAGE,
    FieldDescriptor.TYPE_STRING: betterproto2.TYPE_STRING,
}


def our_files() -> Iterator[FileDescriptor]:
    """Every generated file, so that one added later is covered without a change here."""
    for module in pkgutil.iter_modules(_proto.__path__):
        if module.name.endswith("_pb2"):
            yield importlib.import_module(f"{_proto.__name__}.{module.name}").DESCRIPTOR


MESSAGES = [message for file in our_files() for message in file.message_types_by_name.values()]
FIELDS = [field for message in MESSAGES for field in message.fields]

each_message = pytest.mark.parametrize("ours", MESSAGES, ids=lambda message: message.full_name)


def theirs(ours: Descriptor) -> type[betterproto2.Message]:
    """The independent class of the same protobuf name."""
    return default_message_pool.url_to_type[f"type.googleapis.com/{ours.full_name}"]


def owner(field: FieldDescriptor) -> Descriptor:
    """The message a field belongs to: ours has no extensions, whose fields have none."""
    assert field.containing_type is not None
    return field.containing_type


def their_field(field: FieldDescriptor) -> Any:
    """What envoy-data-plane knows of the field of that name."""
    (known,) = (known for known in dataclasses.fields(cast("Any", theirs(owner(field)))) if known.name == field.name)
    return known.metadata["betterproto"]


def as_json(message: Message | betterproto2.Message) -> dict[str, Any]:
    """Protobuf's canonical JSON, which both libraries write on their own."""
    if isinstance(message, betterproto2.Message):
        return message.to_dict(casing=betterproto2.Casing.SNAKE)
    return MessageToDict(message, preserving_proto_field_name=True)


def values_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Any value one element of the field can hold."""
    if field.enum_type:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.message_type:
        return messages(field.message_type)
    scalars: dict[int, st.SearchStrategy[Any]] = {
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_BYTES: st.binary(max_size=200),
        FieldDescriptor.TYPE_STRING: st.text(max_size=40),
    }
    return scalars[field.type]


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> Message:
    """Any message of ours: each field absent, default or filled; of a oneof's members at most one survives."""
    arguments = {}
    for field in descriptor.fields:
        one = values_of(field)
        value = draw(st.none() | (st.lists(one, max_size=3) if field.is_repeated else one))
        if value is not None:
            arguments[field.name] = value
    for oneof in descriptor.oneofs:
        named = [field.name for field in oneof.fields if field.name in arguments]
        for extra in named[1:]:
            del arguments[extra]
    return GetMessageClass(descriptor)(**arguments)


def test_the_walk_finds_the_whole_subset() -> None:
    """The tests below would pass on an empty list, so the walk is shown to reach both ends of the conversation."""
    names = {message.full_name for message in MESSAGES}
    assert {"envoy.service.ext_proc.v3.ProcessingRequest", "envoy.config.core.v3.HeaderValueOption"} <= names
    assert {field.full_name for field in pb.ProcessingResponse.DESCRIPTOR.fields} <= {f.full_name for f in FIELDS}
    assert len(ENUM_FIELDS) >= 7


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.full_name)
def test_each_field_has_envoys_number_type_and_group(field: FieldDescriptor) -> None:
    """A field of ours is the field Envoy means by that name."""
    known = their_field(field)
    oneof = field.containing_oneof.name if field.containing_oneof else None
    assert (known.number, known.proto_type, bool(known.repeated), known.group) == (
        field.number,
        PROTO_TYPE_NAMES[field.type],
        field.is_repeated,
        oneof,
    )


ENUM_FIELDS = [field for field in FIELDS if field.enum_type]


@pytest.mark.parametrize("field", ENUM_FIELDS, ids=lambda field: field.full_name)
def test_each_enum_is_envoys(field: FieldDescriptor) -> None:
    """The enum behind a field of ours has Envoy's names and numbers, and misses none."""
    assert field.enum_type is not None
    members = type(getattr(theirs(owner(field))(), field.name))
    assert {value.name: value.number for value in field.enum_type.values} == {m.name: int(m) for m in members}


def test_the_service_is_envoys() -> None:
    """Envoy calls the method under the path that our service descriptor names."""
    service = pb.DESCRIPTOR.services_by_name["ExternalProcessor"]
    paths = {f"/{service.full_name}/{method.name}" for method in service.methods}
    assert paths == set(ExternalProcessorBase().__mapping__())


@each_message
@settings(max_examples=25)
@given(data=st.data())
def test_they_read_what_we_write(ours: Descriptor, data: st.DataObject) -> None:
    """Any message of ours means the same to them, and comes back from them unchanged."""
    message = data.draw(messages(ours))
    read = theirs(ours).parse(message.SerializeToString())
    assert as_json(read) == as_json(message)
    assert type(message).FromString(bytes(read)) == message


@each_message
@settings(max_examples=25)
@given(data=st.data())
def test_we_read_what_they_write(ours: Descriptor, data: st.DataObject) -> None:
    """A message they build from values, not from our bytes, means the same to us."""
    message = data.draw(messages(ours))
    written = theirs(ours).from_dict(as_json(message))
    assert type(message).FromString(bytes(written)) == message


@each_message
@settings(max_examples=20)
@given(data=st.data(), number=st.integers(1000, 2**29 - 1).filter(lambda n: not 19_000 <= n < 20_000))
def test_a_field_of_a_newer_envoy_is_ignored(ours: Descriptor, data: st.DataObject, number: int) -> None:
    """Bytes with a field nobody knows yet, of any kind, read as if it were not there."""
    message = data.draw(messages(ours))
    unknown = data.draw(st.sampled_from([(0, b"\x07"), (1, b"12345678"), (2, b"\x03abc"), (5, b"1234")]))
    tag = betterproto2.encode_varint(number << 3 | unknown[0])
    read = type(message).FromString(message.SerializeToString() + tag + unknown[1])
    assert as_json(read) == as_json(message)


EXTRAS = ProcessingRequest(
    metadata_context=Metadata(filter_metadata={"envoy.lb": Struct(fields={"a": Value(number_value=1.0)})}),
    attributes={"envoy.filters.http.ext_proc": Struct(fields={"request.path": Value(string_value="/v1")})},
    observability_mode=True,
    protocol_config=ProtocolConfiguration(request_body_mode=ProcessingModeBodySendMode.BUFFERED_PARTIAL),
)
HEADERS = HeaderMap(headers=[HeaderValue(key=":path", raw_value=b"/v1/chat/completions")])
REQUESTS = [
    {"request_headers": HttpHeaders(headers=HEADERS, end_of_stream=True)},
    {"request_body": HttpBody(body=b"{}", end_of_stream=True, grpc_message_compressed=True)},
    {"response_body": HttpBody(body=b"x", end_of_stream_without_message=True)},
    {"response_trailers": HttpTrailers(trailers=HEADERS)},
]


@pytest.mark.parametrize("request_of", REQUESTS, ids=lambda request_of: next(iter(request_of)))
def test_parts_of_envoys_requests_that_we_left_out_are_ignored(request_of: dict[str, Any]) -> None:
    """Metadata, attributes, protocol configuration and gRPC flags arrive beside what we read and change nothing."""
    plain = ProcessingRequest(**request_of)
    read = pb.ProcessingRequest.FromString(bytes(plain) + bytes(EXTRAS))
    (part,) = request_of
    kind = pb.ProcessingRequest.DESCRIPTOR.fields_by_name[part].message_type
    assert kind is not None
    known = {field.name for field in kind.fields}
    expected = {k: v for k, v in as_json(plain)[part].items() if k in known}
    assert read.WhichOneof("request") == part
    assert as_json(read) == {part: expected}


def test_a_message_kind_that_we_left_out_is_no_message() -> None:
    """A member of the oneof that only newer peers know leaves it unset, which the service can see."""
    immediate = ProcessingResponse(
        immediate_response=ImmediateResponse(status=HttpStatus(code=StatusCode.TooManyRequests))
    )
    assert pb.ProcessingResponse.FromString(bytes(immediate)).WhichOneof("response") is None


def test_an_enum_value_of_a_newer_envoy_is_kept_as_its_number() -> None:
    """Enums are open: an unknown append action is read, and written back, as the number it was."""
    option = HeaderValueOption(header=HeaderValue(key="k", raw_value=b"v")).to_dict()
    option["appendAction"] = 17
    data = bytes(HeaderValueOption.from_dict(option))
    mutation = pb.HeaderMutation.FromString(b"\x0a" + bytes([len(data)]) + data)
    assert int(mutation.set_headers[0].append_action) == 17
