import itertools
import json
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extproc.routing.response import (
    BLOCK_BYTES,
    DOCUMENT_BYTES_MAX,
    INFLATED_BYTES_MAX,
    ReadOutcome,
    UsageReader,
    readable,
)
from extproc.routing.values import Finish, Usage

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
STATED = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
Result = tuple[Usage | None, ReadOutcome]
READ = (Usage(12, 5), ReadOutcome.USAGE)


def read(*chunks: bytes, content_type: str = SSE, content_encoding: str = "") -> Result:
    """What a reader makes of the chunks."""
    reader = UsageReader(content_type=content_type, content_encoding=content_encoding)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.finish(), reader.outcome


def body(**fields: object) -> bytes:
    """A JSON body."""
    return json.dumps(fields).encode()


def event(**fields: object) -> bytes:
    """One event of a stream; typed ones are named as well, as their servers do."""
    name = f"event: {fields['type']}\n" if "type" in fields else ""
    return f"{name}data: {json.dumps(fields)}\n\n".encode()


def token(text: str = " word", finish_reason: str | None = None, index: int = 0, **fields: object) -> bytes:
    """One chunk of a chat answer."""
    delta = {"index": index, "delta": {"content": text}, "finish_reason": finish_reason}
    return event(id="chatcmpl-1", object="chat.completion.chunk", choices=[delta], **fields)


def last_chunk(**usage: int) -> bytes:
    """The chunk that states the whole answer's usage."""
    return event(id="chatcmpl-1", choices=[], usage=usage or STATED)


CHAT = token("") + token() * 3 + last_chunk() + DONE
RESPONSES = (
    event(type="response.created", response={"usage": None, "error": None})
    + event(type="response.output_text.delta", delta='"usage" of a word')
    + event(type="response.completed", response={"usage": {"input_tokens": 12, "output_tokens": 5}, "error": None})
)
MESSAGES = (
    event(type="message_start", message={"type": "message", "usage": {"input_tokens": 12, "output_tokens": 1}})
    + event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": " word"})
    + event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
    + event(type="message_stop")
)


def counted(result: Result) -> Result:
    """The result without how generation ended, which depends on the route."""
    usage, outcome = result
    return usage and replace(usage, finish=Finish.UNKNOWN), outcome


# JSON bodies


def test_a_body_is_read() -> None:
    """Chat, and responses with their null error."""
    assert read(body(choices=[], usage=STATED), content_type=JSON) == READ
    usage = {"input_tokens": 12, "output_tokens": 5}
    assert read(body(error=None, usage=usage), content_type="Application/JSON; charset=utf-8") == READ
    assert read(body(type="message", usage=usage), content_type=JSON) == READ


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (body(choices=[]), ReadOutcome.NO_USAGE),
        (body(usage=None), ReadOutcome.NO_USAGE),
        (body(usage={"prompt_tokens": 0, "completion_tokens": 5}), ReadOutcome.NO_USAGE),
        (body(usage={"prompt_tokens": -1}), ReadOutcome.MALFORMED),
        (body(usage={"prompt_tokens": 10**30}), ReadOutcome.MALFORMED),
        (body(usage={"prompt_tokens": "12"}), ReadOutcome.MALFORMED),
        (body(usage={"prompt_tokens": 1.5}), ReadOutcome.MALFORMED),
        (body(usage=STATED, error={"code": 500}), ReadOutcome.ERROR_EVENT),
        (body(usage=STATED) + b"}", ReadOutcome.MALFORMED),
        (body(usage=STATED)[:-1], ReadOutcome.CUT_SHORT),
        (b"", ReadOutcome.CUT_SHORT),
        (b"<html>", ReadOutcome.MALFORMED),
        (b'{"a":' + b"[" * 5000, ReadOutcome.MALFORMED),
    ],
)
def test_a_body_that_teaches_nothing_says_why(text: bytes, outcome: ReadOutcome) -> None:
    """Every way a JSON body can fail to state a usage has its outcome."""
    assert read(text, content_type=JSON) == (None, outcome)


def test_a_body_is_kept_up_to_a_bound() -> None:
    """The longest body that is read, and one byte more; what follows is ignored."""
    text = body(usage=STATED).ljust(DOCUMENT_BYTES_MAX)
    assert read(text, content_type=JSON) == READ
    assert read(text + b" ", content_type=JSON) == (None, ReadOutcome.TOO_LARGE)
    assert read(text, text, b"}", content_type=JSON) == (None, ReadOutcome.TOO_LARGE)


# Event streams


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(CHAT, id="chat"),
        pytest.param(RESPONSES, id="responses"),
        pytest.param(RESPONSES.replace(b"completed", b"incomplete"), id="responses, incomplete"),
        pytest.param(MESSAGES, id="messages"),
        pytest.param(CHAT.removesuffix(DONE), id="no end marker after the last usage"),
        pytest.param(MESSAGES[: MESSAGES.index(b"event: message_stop")], id="no message_stop"),
        pytest.param(token(usage=None) * 3 + last_chunk() + DONE, id="usage null in every chunk"),
        pytest.param(token(usage={"prompt_tokens": 12, "completion_tokens": 1}) + CHAT, id="running usage"),
        pytest.param(token() + token(usage=STATED) + DONE, id="usage with the last token"),
        pytest.param(event(choices=[], usage=None) + CHAT, id="no choices at the start"),
        pytest.param(token('"usage"') + token("usage") + token("error") + token("[DONE]") + CHAT, id="marks as text"),
        pytest.param(b": keep-alive\n\n" + CHAT.replace(b"\n\n", b"\n\n: keep-alive\n\n"), id="comments"),
        pytest.param(CHAT.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(b"\xef\xbb\xbf" + CHAT.replace(b"data: ", b"data:"), id="byte order mark, no spaces"),
        pytest.param(CHAT.replace(b'{"id"', b'{\ndata: "id"'), id="data over two lines"),
        pytest.param(token() + last_chunk()[:-2], id="no blank line after the last usage"),
        pytest.param(token() + token(usage=STATED) + b"data: [DONE]", id="no blank line after the end marker"),
        pytest.param(token() + last_chunk() + token()[:20], id="cut after the last usage"),
        pytest.param(token() + last_chunk() + b'data: {"usage": {"pro', id="cut in a later usage"),
        pytest.param(CHAT.replace(b"[DONE]", b"[DONE] "), id="space after the end marker"),
        pytest.param(CHAT + event(error={}), id="after the end marker nothing counts"),
        pytest.param(CHAT + token() * 400 + event(error={}), id="nor in later blocks"),
    ],
)
def test_a_stream_is_read(stream: bytes) -> None:
    """Every kind of stream and its variations on the wire, whole and byte by byte."""
    assert counted(read(stream)) == READ
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == read(stream)


@pytest.mark.parametrize(
    ("stream", "outcome"),
    [
        pytest.param(token() + DONE, ReadOutcome.NO_USAGE, id="none stated"),
        pytest.param(last_chunk(prompt_tokens=0) + DONE, ReadOutcome.NO_USAGE, id="no prompt"),
        pytest.param(last_chunk(completion_tokens=5), ReadOutcome.NO_USAGE, id="no prompt, no end marker"),
        pytest.param(event(type="message_stop"), ReadOutcome.NO_USAGE, id="message without usage"),
        pytest.param(b"", ReadOutcome.CUT_SHORT, id="nothing"),
        pytest.param(token(), ReadOutcome.CUT_SHORT, id="cut before usage"),
        pytest.param(token(usage=STATED), ReadOutcome.CUT_SHORT, id="cut in a running usage"),
        pytest.param(MESSAGES[:200], ReadOutcome.CUT_SHORT, id="cut after message_start"),
        pytest.param(last_chunk()[:-5], ReadOutcome.CUT_SHORT, id="cut in the last usage"),
        pytest.param(token() + b'data: {"usage": 7} ', ReadOutcome.CUT_SHORT, id="cut and unreadable"),
        pytest.param(token() + event(error={"code": 500}) + DONE, ReadOutcome.ERROR_EVENT, id="vLLM error"),
        pytest.param(last_chunk() + event(error={}), ReadOutcome.ERROR_EVENT, id="error after usage"),
        pytest.param(last_chunk() + event(error={})[:-2], ReadOutcome.ERROR_EVENT, id="error, no blank line"),
        pytest.param(event(type="error", message="m"), ReadOutcome.ERROR_EVENT, id="typed error"),
        pytest.param(b'data: {"usage": 7}\n\n' + CHAT, ReadOutcome.MALFORMED, id="usage is no object"),
        pytest.param(b'data: {"usage": {"pro\n\n' + CHAT, ReadOutcome.MALFORMED, id="broken JSON in a whole event"),
        pytest.param(last_chunk(prompt_tokens=-3) + DONE, ReadOutcome.MALFORMED, id="negative"),
    ],
)
def test_a_stream_that_teaches_nothing_says_why(stream: bytes, outcome: ReadOutcome) -> None:
    """Every way a stream can fail to state a final usage has its outcome, whole and byte by byte."""
    assert read(stream) == (None, outcome)
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == (None, outcome)


def test_the_last_of_several_usages_counts() -> None:
    """A running completion grows to the final one."""
    running = [token(usage={"prompt_tokens": 12, "completion_tokens": n}) for n in range(5)]
    assert read(*running, last_chunk(prompt_tokens=12, completion_tokens=5), DONE) == READ
    assert read(*running, DONE) == (Usage(12, 4), ReadOutcome.USAGE)


@pytest.mark.parametrize(
    ("start", "delta", "usage"),
    [
        ({"input_tokens": 12, "output_tokens": 1}, {"output_tokens": 5}, Usage(12, 5)),
        ({"input_tokens": 12, "output_tokens": 0}, {"input_tokens": 0, "output_tokens": 5}, Usage(12, 5)),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 12, "output_tokens": 5}, Usage(12, 5)),
        ({"input_tokens": 2, "cache_read_input_tokens": 10}, {"input_tokens": 2, "output_tokens": 5}, Usage(12, 5)),
        ({"input_tokens": 12}, {"input_tokens": 2, "cache_read_input_tokens": 10, "output_tokens": 5}, Usage(12, 5)),
    ],
)
def test_start_and_delta_state_a_message_together(start: dict[str, int], delta: dict[str, int], usage: Usage) -> None:
    """The prompt may stand in either event, or be split into cached parts in one of them; it is counted once."""
    stream = event(type="message_start", message={"usage": start}) + event(type="message_delta", usage=delta)
    assert read(stream) == (usage, ReadOutcome.USAGE)


def finish(*chunks: bytes, content_type: str = SSE, content_encoding: str = "") -> Finish:
    """How an answer ended that must be read."""
    usage, outcome = read(*chunks, content_type=content_type, content_encoding=content_encoding)
    assert usage is not None, outcome
    return usage.finish


def test_a_body_says_all_it_has_to_say() -> None:
    """Counts, their parts, and how generation ended; cached tokens are tokens of the prompt."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 96, "multimodal_tokens": {"image": 64}},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    expected = (Usage(100, 50, 30, 64, Finish.LENGTH), ReadOutcome.USAGE)
    choices = [{"finish_reason": "length"}]
    assert read(body(choices=choices, usage=usage), content_type=JSON) == expected
    assert read(token(finish_reason="length"), event(choices=[], usage=usage), DONE) == expected
    thought = {"input_tokens": 12, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 3}}
    completed = event(type="response.completed", response={"status": "completed", "usage": thought})
    assert read(completed) == (Usage(12, 5, 3, 0, Finish.STOP), ReadOutcome.USAGE)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(CHAT, Finish.UNKNOWN, id="not said"),
        pytest.param(token() + token("", "stop") + last_chunk() + DONE, Finish.STOP, id="chat"),
        pytest.param(token() + token("", "length") + last_chunk() + DONE, Finish.LENGTH, id="cut at a limit"),
        pytest.param(token() + token("", "abort") + last_chunk(), Finish.OTHER, id="aborted, no end marker"),
        pytest.param(token() + token("", "length") + last_chunk()[:-2], Finish.LENGTH, id="no last blank line"),
        pytest.param(token() + token("", "stop", usage=STATED) + DONE, Finish.STOP, id="usage with the last token"),
        pytest.param(
            token("", "stop", usage=STATED) + last_chunk() + DONE, Finish.STOP, id="usage in every chunk and at the end"
        ),
        pytest.param(
            token("", "length") + b": keep-alive\n\n" * 9 + last_chunk() + DONE, Finish.LENGTH, id="keep-alives between"
        ),
        pytest.param((token("", "length") + last_chunk() + DONE).replace(b"\n", b"\r\n"), Finish.LENGTH, id="CRLF"),
        pytest.param((token("", "stop") + last_chunk()).replace(b'": ', b'":'), Finish.STOP, id="no spaces"),
        pytest.param(MESSAGES, Finish.STOP, id="messages"),
        pytest.param(MESSAGES.replace(b"end_turn", b"max_tokens"), Finish.LENGTH, id="messages, cut at a limit"),
        pytest.param(RESPONSES, Finish.UNKNOWN, id="responses without status"),
        pytest.param(
            token("", "length", 1) + token("", "stop", 0) + last_chunk() + DONE, Finish.STOP, id="two choices"
        ),
    ],
)
def test_a_stream_says_how_it_finished(stream: bytes, expected: Finish) -> None:
    """Each route in its event, wherever it lies in the blocks; of several choices the last to end is heard."""
    for before in (b"", token() * 200):
        assert finish(before + stream) is expected
    if expected is not Finish.UNKNOWN:
        filler = b": " + b"." * (BLOCK_BYTES - 4) + b"\n\n"
        for shift in range(0, len(stream), 7):
            assert finish(filler[:-shift] + filler[-2:] + stream if shift else filler + stream) is expected


def test_an_end_far_from_the_usage_is_not_looked_for() -> None:
    """That would cost as much as looking for the usage; the usage itself is found."""
    assert finish(token("", "stop") + token() * 400 + last_chunk() + DONE) is Finish.UNKNOWN


def test_what_the_model_wrote_does_not_end_it() -> None:
    """Nor do arguments that it gave to a tool: in JSON they are strings, whose quotation marks are escaped."""
    for fake in ('"finish_reason":"length"', '"finish_reason": "length"', '{"finish_reason":"length"}'):
        assert finish(token("", "stop") + token(fake) + last_chunk() + DONE) is Finish.STOP
        assert finish(token(fake) + last_chunk() + DONE) is Finish.UNKNOWN
        assert finish(body(choices=[{"text": fake, "finish_reason": "stop"}], usage=STATED), content_type=JSON) is (
            Finish.STOP
        )


def test_an_end_that_is_cut_off_is_no_good_end() -> None:
    """Where the usage came before it."""
    assert finish(token() + last_chunk() + token("", "stop").partition(b"op")[0]) is Finish.OTHER


def test_what_the_model_wrote_teaches_nothing() -> None:
    """A client can make the model write any text or arguments; none of it is taken for usage, an error or the end."""
    fakes = [
        '{"usage": {"prompt_tokens": 1}}',
        'x"}], "usage": {"prompt_tokens": 1}',
        "\n\ndata: [DONE]\n\n",
        '"error"',
    ]
    nested = {"usage": {"prompt_tokens": 1}, "error": {}, "type": "message_stop"}
    choices = [nested | {"text": text, "message": nested} for text in fakes]
    assert read(*map(token, fakes), event(choices=choices), last_chunk(), DONE) == READ
    assert read(body(choices=choices, output=choices, usage=STATED), content_type=JSON) == READ
    assert read(body(choices=choices), content_type=JSON) == (None, ReadOutcome.NO_USAGE)


def test_an_event_too_long_is_passed_over() -> None:
    """Reading goes on after it; only where no usage is found elsewhere is the length to blame."""
    long = token("x" * DOCUMENT_BYTES_MAX)
    assert read(token() + long + last_chunk()) == READ
    assert read(long + DONE) == (None, ReadOutcome.TOO_LARGE)
    completed = event(type="response.completed", response={"output": long.decode(), "usage": {"input_tokens": 12}})
    assert read(completed) == (None, ReadOutcome.TOO_LARGE)


# Encodings and content types


@pytest.mark.parametrize(
    ("content_type", "content_encoding", "expected"),
    [
        ("application/json", "", True),
        ("application/json; charset=utf-8", "identity", True),
        ("Text/Event-Stream;charset=utf-8", " GZIP ", True),
        ("text/event-stream", "deflate", True),
        ("text/event-stream", "x-gzip", True),
        ("text/event-stream", "br", False),
        ("application/json", "zstd", False),
        ("application/json", "gzip, gzip", False),
        ("text/html", "", False),
        ("", "", False),
    ],
)
def test_it_is_known_beforehand_what_can_be_read(
    content_type: str,
    content_encoding: str,
    expected: bool,  # noqa: FBT001 - a table's column
) -> None:
    """The headers tell; a reader that is fed nonetheless says unsupported."""
    assert readable(content_type, content_encoding) is expected
    unread = ReadOutcome.CUT_SHORT if expected else ReadOutcome.UNSUPPORTED
    assert UsageReader(content_type=content_type, content_encoding=content_encoding).outcome is unread
    if not expected:
        assert read(CHAT, content_type=content_type, content_encoding=content_encoding) == (None, unread)


WBITS = {"gzip": 31, "deflate": 15}  # zlib's numbers for the two formats


def pack(text: bytes, content_encoding: str = "gzip") -> bytes:
    """The text compressed, to the same bytes at any time."""
    compressor = zlib.compressobj(wbits=WBITS[content_encoding])
    return compressor.compress(text) + compressor.flush()


@pytest.mark.parametrize("content_encoding", WBITS)
def test_compressed_answers_are_read(content_encoding: str) -> None:
    """Both encodings, streams and bodies."""
    assert read(pack(CHAT, content_encoding), content_encoding=content_encoding) == READ
    packed = pack(body(usage=STATED), content_encoding)
    assert read(packed, content_type=JSON, content_encoding=content_encoding) == READ


def test_several_gzip_members_are_one_answer() -> None:
    """A gateway may compress what it gets piece by piece."""
    assert read(pack(CHAT[:300]) + pack(b"") + pack(CHAT[300:]), content_encoding="gzip") == READ


def test_a_cut_compressed_answer_is_read_as_far_as_it_goes() -> None:
    """The end of the compression matters as little as the end marker; the end of the answer matters."""
    flushed = zlib.compressobj(wbits=31)
    packed = flushed.compress(CHAT) + flushed.flush(zlib.Z_SYNC_FLUSH)
    assert read(packed, content_encoding="gzip") == READ
    assert read(packed[:-60], content_encoding="gzip") == (None, ReadOutcome.CUT_SHORT)
    assert read(b"\x1f\x8b", content_encoding="gzip") == (None, ReadOutcome.CUT_SHORT)


def test_corrupt_compression_is_malformed() -> None:
    """What does not inflate, also after a good beginning, and also where the end of the answer was inflated with it."""
    packed = pack(CHAT)
    assert read(CHAT, content_encoding="gzip") == (None, ReadOutcome.MALFORMED)
    assert read(packed[:-8] + bytes(8), content_encoding="gzip") == (None, ReadOutcome.MALFORMED)
    assert read(packed[:-8] + bytes(8), CHAT, content_encoding="gzip") == (None, ReadOutcome.MALFORMED)


# Properties


def chunked(text: bytes, places: list[float]) -> list[bytes]:
    """The text in chunks that end at these parts of its length."""
    edges = [0, *sorted(int(place * len(text)) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


_USAGES = st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9), "completion_tokens": st.integers(0, 9)})
_TEXTS = st.text(max_size=8) | st.sampled_from(["usage", '"usage"', "[DONE]", "error", "€\n\n", "x" * BLOCK_BYTES])
_EVENTS = st.one_of(
    _TEXTS.map(token),
    st.builds(lambda usage: token(usage=usage), _USAGES | st.none()),
    st.builds(token, _TEXTS, st.sampled_from(["stop", "length", "abort"])),
    _USAGES.map(lambda usage: last_chunk(**usage)),
    st.sampled_from(
        [DONE, b": keep-alive\n\n", event(error={}), b'data: {"usage":\n\n', b"data: x\r\n\r\n", b"\xff\r"]
    ),
    st.sampled_from([MESSAGES, RESPONSES, CHAT.replace(b"\n", b"\r")]),
)
_STREAMS = st.lists(_EVENTS, max_size=12).map(b"".join)
_PLACES = st.lists(st.floats(0, 1), max_size=12)


_BODIES = st.builds(lambda text, usage: body(choices=[{"text": text}], usage=usage), _TEXTS, _USAGES | st.none())


@settings(max_examples=150, deadline=None)
@given(case=st.tuples(_STREAMS, st.just(SSE)) | st.tuples(_BODIES, st.just(JSON)), places=_PLACES, end=st.floats(0, 1))
def test_any_chunking_gives_the_same(case: tuple[bytes, str], places: list[float], end: float) -> None:
    """Real streams and bodies, whole or cut off: usage and outcome come from the bytes, not from the chunks."""
    whole, content_type = case
    for text in (whole, whole[: int(end * len(whole))]):
        assert read(*chunked(text, places), content_type=content_type) == read(text, content_type=content_type)


@settings(max_examples=100, deadline=None)
@given(
    stream=_STREAMS,
    places=_PLACES,
    damage=st.none() | st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    end=st.floats(0, 1),
    content_encoding=st.sampled_from(sorted(WBITS)),
)
def test_any_chunking_of_compressed_bytes_gives_the_same(
    stream: bytes, places: list[float], damage: tuple[float, int] | None, end: float, content_encoding: str
) -> None:
    """Sound, damaged or cut compression alike; what is sound reads as it would uncompressed."""
    noise = b": " + random.Random(len(stream)).randbytes(3 * BLOCK_BYTES).hex().encode() + b"\n\n"  # fills blocks
    packed = bytearray(pack(noise + stream, content_encoding))
    if damage is None:
        assert read(bytes(packed), content_encoding=content_encoding) == read(noise + stream)
    else:
        packed[int(damage[0] * len(packed))] ^= damage[1]
    for text in (bytes(packed), bytes(packed)[: int(end * len(packed))]):
        whole = read(text, content_encoding=content_encoding)
        assert read(*chunked(text, places), content_encoding=content_encoding) == whole


@settings(max_examples=150, deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=60), max_size=8),
    content_type=st.sampled_from([JSON, SSE, "text/plain"]),
    content_encoding=st.sampled_from(["", "gzip", "deflate", "br"]),
)
def test_no_bytes_make_it_raise(chunks: list[bytes], content_type: str, content_encoding: str) -> None:
    """Whatever comes, there is an outcome, and a usage exactly where the outcome says so."""
    usage, outcome = read(*chunks, content_type=content_type, content_encoding=content_encoding)
    assert (usage is not None) is (outcome is ReadOutcome.USAGE)


def test_after_the_end_nothing_changes() -> None:
    """Finishing twice, or feeding what a proxy repeats after the end, leaves usage and outcome as they are."""
    reader = UsageReader(content_type=SSE)
    reader.feed(CHAT)
    first = reader.finish()
    reader.feed(event(error={}))
    assert (reader.finish(), reader.outcome) == (first, ReadOutcome.USAGE)
    assert first == Usage(12, 5)


# Bounds


@pytest.mark.parametrize("content_type", [SSE, JSON])
def test_a_body_without_end_does_not_fill_the_memory(content_type: str) -> None:
    """32 MiB of one line leave a few times the bound behind at the most."""
    reader = UsageReader(content_type=content_type)
    chunk = b'data: "usage' + bytes(64 * 1024)
    tracemalloc.start()
    try:
        for _ in range(512):
            reader.feed(chunk)
        reader.finish()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * DOCUMENT_BYTES_MAX
    assert reader.outcome is ReadOutcome.TOO_LARGE


def test_what_inflates_without_measure_is_given_up() -> None:
    """A few kilobytes that inflate to more than the bound cost bounded memory, and no more work than the bound."""
    bomb = pack(b"\n" * (INFLATED_BYTES_MAX + 2**20))
    tracemalloc.start()
    try:
        assert read(bomb + pack(CHAT), content_encoding="gzip") == (None, ReadOutcome.TOO_LARGE)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * DOCUMENT_BYTES_MAX
