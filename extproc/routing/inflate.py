"""Undoes gzip and deflate piece by piece; knows nothing of what the bytes say."""

import zlib
from collections.abc import Iterator

PIECE_BYTES = 64 * 1024
"""The most that is inflated at once, so that a small body cannot fill the memory."""

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS  # zlib's own words for "tell the two by their header"


class Inflater:
    """Turns the blocks of a gzip (of one or more members) or zlib stream into pieces of what was compressed.

    Where the stream is cut, the pieces before the cut are all there is; only corrupt bytes raise `zlib.error`, and then
    the pieces of that block are lost as far as zlib had not handed them out.
    """

    __slots__ = ("_decoder", "inflated_bytes")

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_ZLIB_OR_GZIP)
        self.inflated_bytes = 0
        """Bytes handed out so far."""

    def inflate(self, block: bytes) -> Iterator[bytes]:
        """The pieces, none longer than `PIECE_BYTES`, that the next block inflates to."""
        more = False
        while block or more:
            if self._decoder.eof:
                self._decoder = zlib.decompressobj(_ZLIB_OR_GZIP)  # the next gzip member
            piece = self._decoder.decompress(block, PIECE_BYTES)
            block = self._decoder.unconsumed_tail or self._decoder.unused_data
            more = len(piece) == PIECE_BYTES  # zlib may hold output whose input is used up
            self.inflated_bytes += len(piece)
            yield piece
