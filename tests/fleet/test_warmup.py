from extproc.compiled import is_kept
from extproc.fleet import events
from extproc.fleet.warmup import Compile, is_due


def test_once_is_enough() -> None:
    """After it the code is on disk, and nothing is due."""
    Compile().perform()
    assert is_kept(events.advance)
    assert not is_due()


def test_what_is_not_compiled_is_not_kept() -> None:
    """Nor is anything where there is no place to keep it."""
    assert not is_kept(is_due)
