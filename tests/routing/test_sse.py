import itertools
import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.routing.sse import EventSplitter

MARKS = (b"mark", b"[DONE]")
EVENT_BYTES_MAX = 40


def split(*chunks: bytes, event_bytes_max: int = EVENT_BYTES_MAX) -> tuple[list[bytes], list[bytes], bool]:
    """What the splitter finds while it is fed, what it finds at the end, and whether it skipped an event."""
    splitter = EventSplitter(marks=MARKS, event_bytes_max=event_bytes_max)
    found = [data for chunk in chunks for data in splitter.feed(chunk)]
    return found, splitter.finish(), splitter.oversized


def cut(text: bytes, places: list[int]) -> list[bytes]:
    """The text in chunks that end at the given places."""
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


def found_by_the_book(text: bytes) -> list[bytes]:
    """Marked data of the whole events, read line by line as the standard words it: slow, and written differently."""
    found, lines = [], re.split(rb"\r\n|\n|\r", text)
    data: list[bytes] = []
    for line in lines[:-1]:
        if not line:
            joined = b"\n".join(data)
            found += [joined] if any(mark in joined for mark in MARKS) else []
            data = []
        elif line == b"data":
            data.append(b"")
        elif line.startswith(b"data:"):
            value = line[5:]
            data.append(value[1:] if value[:1] == b" " else value)
    return found


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"data: mark\n\n", id="LF"),
        pytest.param(b"data: mark\r\n\r\n", id="CRLF"),
        pytest.param(b"data: mark\r\r", id="CR"),
        pytest.param(b"data: mark\n\r\n", id="mixed line ends"),
        pytest.param(b"data:mark\n\n", id="no space"),
        pytest.param(b"\xef\xbb\xbfdata: mark\n\n", id="byte order mark"),
        pytest.param(b"\n\n\ndata: mark\n\n\n\n", id="spare blank lines"),
        pytest.param(b": keep-alive\n\ndata: mark\n\n", id="comment before"),
        pytest.param(b": keep-alive\ndata: mark\n\n", id="comment within"),
        pytest.param(b"event: kind\nid: 7\nretry: 10\ndata: mark\n\n", id="other fields"),
        pytest.param(b"data: nothing\n\ndata: mark\n\ndata: nothing\n\n", id="among others"),
    ],
)
def test_the_data_of_a_marked_event_is_found(stream: bytes) -> None:
    """Every spelling the standard allows gives the same data, whole or byte by byte."""
    assert split(stream) == ([b"mark"], [], False)
    assert split(*cut(stream, list(range(len(stream))))) == ([b"mark"], [], False)


@pytest.mark.parametrize(
    "stream",
    [b": mark\n\n", b"event: mark\n\n", b"mark\n\n", b"Data: mark\n\n", b" data: mark\n\n", b"data: none\n: mark\n\n"],
)
def test_a_mark_outside_data_is_nothing(stream: bytes) -> None:
    """Only data counts: a comment, another field or a line that is no field may say what it likes."""
    assert split(stream) == ([], [], False)


def test_data_lines_are_joined() -> None:
    """Several data lines make one data with newlines between, of which one leading space each is dropped."""
    assert split(b"data: mark\ndata:  two\ndata\ndata: [DONE]\n\n")[0] == [b"mark\n two\n\n[DONE]"]


def test_several_events_of_a_chunk_come_in_order() -> None:
    """One chunk may end several events."""
    assert split(b"data: mark 1\n\ndata: no\n\ndata: mark 2\n\ndata: ma", b"rk 3\n\n")[0] == [
        b"mark 1",
        b"mark 2",
        b"mark 3",
    ]


def test_an_event_without_its_blank_line_comes_at_the_end() -> None:
    """What the end of the stream cut off is kept apart from the whole events."""
    assert split(b"data: mark 1\n\ndata: mark 2\r") == ([b"mark 1"], [b"mark 2"], False)


@pytest.mark.parametrize("length", [EVENT_BYTES_MAX - 1, EVENT_BYTES_MAX, EVENT_BYTES_MAX + 1, 10 * EVENT_BYTES_MAX])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b""])
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_an_event_too_long_is_skipped_and_reading_goes_on(length: int, end: bytes, step: int) -> None:
    """The bound is exact whatever the chunks, and the events around a skipped one are found."""
    long = b"data: mark".ljust(length, b".")
    stream = b"data: mark 1\n\n\n" + long + end
    kept = length <= EVENT_BYTES_MAX
    found, rest, oversized = split(*(stream[i : i + step] for i in range(0, len(stream), step)))
    assert [*found, *rest] == [b"mark 1", long[6:]][: 1 + kept]
    assert oversized is not kept
    if end:
        stream += b"data: mark 2\n\n"
        assert split(*(stream[i : i + step] for i in range(0, len(stream), step)))[0][-1] == b"mark 2"


def test_the_rest_of_a_skipped_event_is_skipped_too() -> None:
    """What follows in the same event is no event of its own, though the beginning is forgotten by then."""
    long = b"data: " + b"." * 2 * EVENT_BYTES_MAX
    for end in (b"\n\n", b""):
        assert split(long, b"\ndata: mark" + end) == ([], [], True)
        assert split(long + b"\n", b"data: mark" + end) == ([], [], True)


def test_a_crlf_may_lie_across_chunks() -> None:
    """It ends one line, not two, also where an empty chunk lies between its halves."""
    assert split(b"data: mark\r", b"", b"\ndata: two\r", b"\n\r", b"\n") == ([b"mark\ntwo"], [], False)


def test_a_skipped_event_may_hold_no_mark() -> None:
    """Skipping is told even where nothing in the chunk is marked, so that it does not depend on the chunks."""
    assert split(b"data: " + b"." * EVENT_BYTES_MAX + b"\n\n") == ([], [], True)


def test_a_byte_order_mark_after_an_odd_line_end_is_found_in_any_chunks() -> None:
    """The odd newline belongs to the one event or the other, depending on where the chunks end."""
    stream = b"data: mark\n\n\n\xef\xbb\xbfdata: [DONE]\n\n"
    assert all(split(stream[:at], stream[at:]) == split(stream) for at in range(1, len(stream)))


_FIELDS = [
    b"data: mark",
    b"data:mark",
    b"data",
    b"event: e",
    b": mark",
    b"mark",
    "data: €".encode(),
    b"\xef\xbb\xbfdata: [DONE]",
]
_LINES = st.sampled_from([*_FIELDS, b"", b"", b"." * EVENT_BYTES_MAX])
_LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
_STREAMS = st.lists(st.builds(bytes.__add__, _LINES, _LINE_ENDS) | st.binary(max_size=4), max_size=20).map(b"".join)
_PLACES = st.lists(st.integers(0, 10_000), max_size=20)


@settings(max_examples=300, deadline=None)
@given(stream=_STREAMS, places=_PLACES)
def test_any_chunking_finds_the_same(stream: bytes, places: list[int]) -> None:
    """Chunks may end anywhere, also within a CRLF, a boundary, a character, or an event that is skipped."""
    assert split(*cut(stream, places)) == split(stream)


@settings(max_examples=300, deadline=None)
@given(stream=_STREAMS, places=_PLACES)
def test_it_finds_what_the_standard_says(stream: bytes, places: list[int]) -> None:
    """As long as nothing is skipped, the events are those of a reader that goes line by line."""
    text = stream.replace(b"\xef\xbb\xbf", b"")  # allowed before any event here, only before the first by the book
    assert split(*cut(text, places), event_bytes_max=100_000)[0] == found_by_the_book(text)


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    """32 MiB without a line end leave no more behind than the bound and a chunk."""
    splitter = EventSplitter(marks=MARKS, event_bytes_max=256 * 1024)
    chunk = b"data: mark " + bytes(64 * 1024)
    tracemalloc.start()
    try:
        for _ in range(512):
            assert splitter.feed(chunk) == []
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1024 * 1024
    assert splitter.feed(b"\n\ndata: mark\n\n") == [b"mark"]
    assert splitter.oversized
