import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.mockvllm.errors import BACKLOG_FULL, QUEUE_FULL, bad_request, malformed
from extproc.mockvllm.errors import Refusal as Refused
from extproc.mockvllm.limits import Extent, output_limit
from extproc.mockvllm.settings import Version
from extproc.routing.refusal import BYTES_MAX, Refusal, RefusalReader, may_refuse

L = 8192
VERSIONS: list[Version] = [
    (0, 6),
    (0, 8),
    (0, 9),
    (0, 10),
    (0, 13),
    (0, 17),
    (0, 20),
    (0, 24),
    (0, 31),
    (0, 32),
    (0, 33),
]
TOO_LONG = {
    "prompt": Extent(L + 100, 40_000, 16, "max_tokens"),
    "prompt of ids": Extent(L + 100, None, 16, "max_tokens"),
    "prompt, no limit": Extent(L + 100, 40_000, None, "max_tokens"),
    "far too long": Extent(2_000_000, 9_000_000, 16, "max_tokens"),
    "output": Extent(10, 40, 65_535, "max_completion_tokens"),
}
"""Requests that every release refuses for their length."""


def read(status: int, *chunks: bytes) -> Refusal:
    """What a reader makes of an error that comes in these pieces."""
    reader = RefusalReader(status)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.finish()


def worded(refusal: Refused, version: Version) -> bytes:
    """The body as vLLM of that release sends it."""
    return json.dumps(refusal.body(version)).encode()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("extent", TOO_LONG.values(), ids=TOO_LONG.keys())
def test_a_request_too_long_is_known_by_the_words_of_every_release(extent: Extent, version: Version) -> None:
    """Prompt, output or both; flat bodies and nested ones."""
    refusal = output_limit(version, L, extent)
    assert isinstance(refusal, Refused)
    assert read(400, worded(refusal, version)) is Refusal.CONTEXT_LENGTH


@pytest.mark.parametrize("version", [version for version in VERSIONS if version < (0, 32)])
def test_so_is_one_whose_output_finds_no_room(version: Version) -> None:
    """Up to 0.31 prompt and output together are held against the context."""
    refusal = output_limit(version, L, Extent(L - 100, 30_000, 500, "max_tokens"))
    assert isinstance(refusal, Refused)
    assert read(400, worded(refusal, version)) is Refusal.CONTEXT_LENGTH


def test_it_is_known_in_the_words_of_a_single_release_too() -> None:
    """0.33's engine, of a prompt that fills the context to the last token."""
    text = (
        "The decoder prompt (length 8192) plus the number of requested output tokens (at least 1) is longer than the "
    )
    assert read(400, (text + "maximum model length of 8192.").encode()) is Refusal.CONTEXT_LENGTH


@pytest.mark.parametrize(
    "refusal",
    [
        bad_request("n must be at least 1, got 0.", "n"),
        bad_request("max_tokens must be at least 1, got 0.", "max_tokens"),
        malformed(["messages: Field required"]),
    ],
)
def test_a_clients_own_mistake_is_another_matter(refusal: Refused) -> None:
    """It would be one in the long pool as well."""
    assert read(400, worded(refusal, (0, 31))) is Refusal.OTHER


@pytest.mark.parametrize(
    "body", [worded(QUEUE_FULL, (0, 33)), worded(BACKLOG_FULL, (0, 33)), b"", b"no healthy upstream"]
)
def test_503_is_busy_whatever_it_says(body: bytes) -> None:
    """A full queue, or Envoy that reaches no instance."""
    assert read(503, body) is Refusal.BUSY


@pytest.mark.parametrize(
    ("status", "may"), [(400, True), (503, True), (200, False), (404, False), (500, False), (0, False)]
)
def test_only_two_statuses_are_worth_reading(status: int, *, may: bool) -> None:
    """The others say nothing of length or load."""
    assert may_refuse(status) is may


@given(cuts=st.lists(st.integers(0, 300), max_size=4))
def test_it_comes_in_any_pieces(cuts: list[int]) -> None:
    """Wherever the words are cut."""
    refusal = output_limit((0, 31), L, TOO_LONG["prompt"])
    assert isinstance(refusal, Refused)
    body, bounds = worded(refusal, (0, 31)), [0, *sorted(cuts), None]
    pieces = [body[start:end] for start, end in pairwise(bounds)]
    assert read(400, *pieces) is Refusal.CONTEXT_LENGTH


def test_what_lies_beyond_the_bound_is_not_kept() -> None:
    """An error as long as a prompt costs no more memory than another, and any bytes are taken."""
    reader = RefusalReader(400)
    for _ in range(10):
        reader.feed(b"\xff" * BYTES_MAX)
    reader.feed(b"maximum context length")
    assert reader.finish() is Refusal.OTHER
