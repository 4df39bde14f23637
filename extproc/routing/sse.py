"""Splits the bytes of an event stream into events, as WHATWG's HTML standard section 9.2.6 defines them.

Knows lines, fields and event boundaries; must not know what the data of an event means.
"""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventSplitter:
    """Hands out the data of the events that hold a mark; the others, nearly all of a stream, it never takes apart.

    The result depends on the bytes alone, not on how they were cut into chunks. At most `event_bytes_max` and one
    chunk are held; a longer event is skipped and reading goes on after it.
    """

    __slots__ = ("_after_cr", "_buffer", "_event_bytes_max", "_marks", "_skipping", "oversized")

    def __init__(self, *, marks: tuple[bytes, ...], event_bytes_max: int) -> None:
        """Look for `marks`, byte strings without line ends."""
        self._marks = marks
        self._event_bytes_max = event_bytes_max
        self._buffer = bytearray()  # what follows the last event boundary, line ends made LF
        self._after_cr = False
        self._skipping = False
        self.oversized = False
        """Whether an event was skipped for its length."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that ends in this chunk and holds a mark."""
        if not chunk:
            return []
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")  # the second half of a CRLF
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

        buffer = self._buffer
        unsearched = max(len(buffer) - 1, 0)  # a boundary may lie across the two chunks
        buffer += chunk
        end = buffer.rfind(b"\n\n", unsearched)
        if end < 0:
            self._bound_buffer()
            return []
        block = bytes(buffer[:end])
        del buffer[: end + 2]
        found = self._marked(block)
        self._bound_buffer()
        return found

    def finish(self) -> list[bytes]:
        """The data of the event that the end of the stream cut off, if it holds a mark.

        The standard discards an event without a blank line after it. Here its sender may merely have left the line
        out, so the caller gets it and must expect it cut anywhere.
        """
        return self._marked(bytes(self._buffer))

    def _marked(self, block: bytes) -> list[bytes]:
        skipping, self._skipping = self._skipping, False
        if len(block) <= self._event_bytes_max and not self._has_mark(block):
            return []
        events = block.split(b"\n\n")
        if skipping:
            del events[0]
        if len(block) > self._event_bytes_max:
            events = [event for event in events if self._fits(event)]
        return [data for data in map(_data, events) if self._has_mark(data)]

    def _has_mark(self, text: bytes) -> bool:
        for mark in self._marks:  # noqa: SIM110 - a generator costs more than the search, on every token
            if mark in text:
                return True
        return False

    def _fits(self, event: bytes) -> bool:
        # Which of two neighbours gets the odd newline of a boundary depends on the chunks, so it is not counted.
        fits = len(event.strip(b"\n")) <= self._event_bytes_max
        self.oversized |= not fits
        return fits

    def _bound_buffer(self) -> None:
        if len(self._buffer) <= self._event_bytes_max + 2:  # one newline on either side is not the event's
            return
        del self._buffer[:-1]  # the last byte may begin the boundary
        self._skipping = self.oversized = True


def _data(event: bytes) -> bytes:
    """The values of its data lines; empty where it has none.

    A byte order mark may open a stream; allowing it before any event needs no memory of where the stream began.
    """
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    # Which of two neighbours gets the odd newline of a boundary depends on the chunks, so the mark may come after one.
    fields = (line.partition(b":") for line in event.lstrip(b"\n").removeprefix(_BYTE_ORDER_MARK).split(b"\n"))
    return b"\n".join(value.removeprefix(b" ") for name, _, value in fields if name == b"data")
