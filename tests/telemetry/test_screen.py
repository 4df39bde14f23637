"""A status on a terminal: aligned, complete, and of printable characters alone."""

from extproc.assembly import build_router
from extproc.settings import Settings
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.screen import as_text
from extproc.telemetry.status import Running, Status, status_of


def a_status() -> Status:
    """Of a service that has done nothing."""
    return status_of(Running(Settings(), 0.0), build_router(Settings()), Ledger(), now_s=5.0)


def test_a_service_that_has_done_nothing_says_so() -> None:
    """Each part is there, none is an empty table."""
    text = as_text("http://here", a_status())
    assert "decisions  0\n  none yet" in text
    assert text.count("nothing learned yet") == 3
    assert "not since the start" in text


def test_tables_are_aligned() -> None:
    """Words to the left, numbers to the right, under their headings."""
    status = a_status()
    status["models"] = [{"model": "m", "samples": 12}, {"model": "longer", "samples": 3}]
    lines = as_text("here", status).splitlines()
    start = lines.index("models")
    assert lines[start + 1 : start + 4] == ["  model   samples", "  m            12", "  longer        3"]


def test_a_complaint_stays_on_its_line() -> None:
    """Whatever a settings file holds, it neither breaks the line nor steers the terminal."""
    status = a_status()
    status["settings"] |= {"complaint": "a\nb\x1b[2J", "last": {"at": "2001-09-09T01:46:40Z", "outcome": "refused"}}
    assert r"2001-09-09 01:46:40 UTC, refused: a\nb\x1b[2J" in as_text("here", status)
