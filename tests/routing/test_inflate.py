import gzip
import zlib

import pytest

from extproc.routing.inflate import PIECE_BYTES, Inflater

TEXT = bytes(range(256)) * 2048  # 512 KiB, several pieces


def inflate(*blocks: bytes) -> list[bytes]:
    """The pieces of all blocks."""
    inflater = Inflater()
    pieces = [piece for block in blocks for piece in inflater.inflate(block)]
    assert inflater.inflated_bytes == sum(map(len, pieces))
    return pieces


@pytest.mark.parametrize("packed", [gzip.compress(TEXT), zlib.compress(TEXT)], ids=["gzip", "zlib"])
@pytest.mark.parametrize("step", [1, 1000, 1_000_000])
def test_both_formats_are_undone(packed: bytes, step: int) -> None:
    """Gzip and what HTTP calls deflate come back whole from blocks of any size, in pieces of bounded size."""
    pieces = inflate(*(packed[i : i + step] for i in range(0, len(packed), step)))
    assert b"".join(pieces) == TEXT
    assert max(map(len, pieces)) <= PIECE_BYTES


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_gzip_members_follow_each_other(step: int) -> None:
    """A gzip stream may be several compressed texts, one after the other, an empty one among them."""
    packed = gzip.compress(b"one, ") + gzip.compress(b"") + gzip.compress(b"two")
    blocks = [packed[i : i + step] for i in range(0, len(packed), step)]
    assert b"".join(inflate(*blocks)) == b"one, two"


def test_a_block_gives_all_it_can() -> None:
    """Nothing is kept for the next block, also where zlib has taken all input while its output fills a piece."""
    packed = gzip.compress(b"a" * PIECE_BYTES + b"b" * 3)
    for length in range(len(packed)):
        block = packed[:length]
        assert b"".join(inflate(block)) == zlib.decompressobj(31).decompress(block)


def test_a_small_block_inflates_in_bounded_pieces() -> None:
    """A few kilobytes that become megabytes arrive piece by piece."""
    pieces = Inflater().inflate(zlib.compress(bytes(4 * 1024 * 1024)))
    assert len(next(pieces)) == PIECE_BYTES


def test_a_cut_stream_gives_what_came_before() -> None:
    """A cut is no fault: what was there comes out."""
    packed = gzip.compress(TEXT)
    got = b"".join(inflate(packed[: len(packed) // 2]))
    assert TEXT.startswith(got)
    assert got


def test_nothing_gives_nothing() -> None:
    """An empty block has no pieces."""
    assert inflate(b"") == []


_DICTIONARY = zlib.compressobj(zdict=b"dictionary")


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"no compression at all", id="not compressed"),
        pytest.param(gzip.compress(b"text")[:-8] + bytes(8), id="wrong checksum"),
        pytest.param(gzip.compress(b"text") + b"rest", id="something after the end"),
        pytest.param(_DICTIONARY.compress(b"dictionary") + _DICTIONARY.flush(), id="needs a dictionary"),
    ],
)
def test_corrupt_bytes_raise(packed: bytes) -> None:
    """What cannot be undone is told as zlib tells it."""
    with pytest.raises(zlib.error):
        inflate(packed)
