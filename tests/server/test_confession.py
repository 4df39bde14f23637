"""A bug of ours is counted and located, and nothing of what it was about is told."""

import pytest

from extproc.server.confession import confess
from extproc.telemetry.ledger import Ledger


def failed() -> Exception:
    """An error as it is caught, with a text that a user typed."""
    with pytest.raises(KeyError) as caught:
        dict[str, int]()["what the user typed"]
    return caught.value


def test_every_bug_is_counted_and_ever_fewer_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The first, the tenth, the hundredth: type and place, never the text."""
    ledger = Ledger()
    for _ in range(100):
        confess(ledger, failed())
    assert ledger.internal_errors == 100
    assert [message.partition(":")[0] for message in caplog.messages] == [f"internal error {n}" for n in (1, 10, 100)]
    assert "KeyError at failed:" in caplog.text
    assert "typed" not in caplog.text
