"""Undoes gzip and deflate piece by piece; knows nothing of what the bytes say."""

import zlib
from collections.abc import Iterator

BLOCK_BYTES = 16 * 1024
"""Compressed bytes taken at once.

zlib gives up what it inflated in the call in which it meets a fault. Blocks cut at fixed places make that loss, and so
everything read from a broken body, the same however the body was chunked.
"""

PIECE_BYTES = 64 * 1024
"""The most that is inflated at once, so that a small body cannot fill the memory."""

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS  # zlib's own words for "tell the two by their header"


class Inflater:
    """Turns the chunks of a gzip (of one or more members) or zlib stream into pieces of what was compressed.

    Where the stream is cut, the pieces before the cut are all there is; only corrupt bytes raise `zlib.error`.
    """

    __slots__ = ("_decoder", "_held", "inflated_bytes")

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._held = bytearray()
        self.inflated_bytes = 0
        """Bytes handed out so far."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The pieces that the whole blocks up to this chunk inflate to."""
        self._held += chunk
        while len(self._held) >= BLOCK_BYTES:
            block = bytes(self._held[:BLOCK_BYTES])
            del self._held[:BLOCK_BYTES]
            yield from self._inflate(block)

    def finish(self) -> Iterator[bytes]:
        """The pieces that the rest inflates to."""
        yield from self._inflate(bytes(self._held))

    def _inflate(self, block: bytes) -> Iterator[bytes]:
        more = False
        while block or more:
            if self._decoder.eof:
                self._decoder = zlib.decompressobj(_ZLIB_OR_GZIP)  # the next gzip member
            piece = self._decoder.decompress(block, PIECE_BYTES)
            block = self._decoder.unconsumed_tail or self._decoder.unused_data
            more = len(piece) == PIECE_BYTES  # zlib may hold output whose input is used up
            self.inflated_bytes += len(piece)
            yield piece
