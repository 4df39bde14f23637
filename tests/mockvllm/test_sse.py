from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.mockvllm import sse


def test_events_are_framed_by_an_empty_line() -> None:
    """Plain events have data alone, typed ones a name before it."""
    assert sse.data({"a": "x\ny"}) == b'data: {"a":"x\\ny"}\n\n'
    assert sse.typed("stop", {}) == b"event: stop\ndata: {}\n\n"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000))
def test_pieces_rejoin_to_the_bytes(content: bytes) -> None:
    """Cutting loses nothing and leaves no empty piece."""
    pieces = sse.pieces(content)
    assert b"".join(pieces) == content
    assert all(pieces)
