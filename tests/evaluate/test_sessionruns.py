from pathlib import Path

import pytest

from extproc.evaluate.options import Contender, EvaluateOptions
from extproc.evaluate.runs import Material
from extproc.evaluate.sessionruns import SessionFigures, SessionRun


def figures(sessions: Path, contender: Contender, **more: object) -> SessionFigures:
    """What a contender comes to on a log, with a threshold well above it."""
    options = EvaluateOptions(sessions=sessions, threshold_tokens=6000, **more)  # type: ignore[arg-type]
    return SessionRun(contender).perform(Material.load(options))


def test_each_call_is_held_against_the_truth(sessions_file: Path) -> None:
    """At 4 bytes a token 8,000 and 10,200 characters are 2,000 and 2,550 tokens: exact, with nothing remembered."""
    found = figures(sessions_file, Contender.FIXED)
    assert (found.calls, found.failed, found.unmatched) == (2, 1, 1)
    assert (found.extending.count, found.others.count) == (1, 1)
    assert (found.extending.p50, found.others.p50) == (0.0, 0.0)


def test_what_is_remembered_needs_no_estimate(sessions_file: Path) -> None:
    """The second call is recognised as extending the first, unless memory is turned off."""
    assert figures(sessions_file, Contender.ANYTIME).unmatched == 0
    assert figures(sessions_file, Contender.ANYTIME, memory=False).unmatched == 1


def test_errors_of_both_kinds_are_told_apart(sessions_file: Path) -> None:
    """With another truth for the second call alone, only calls that extend err."""
    sessions_file.write_text(sessions_file.read_text().replace("2550", "2040"))
    found = figures(sessions_file, Contender.FIXED)
    assert found.extending.p50 == pytest.approx(0.25)
    assert found.others.p50 == 0.0


def test_every_answer_is_read_unless_a_share_is_asked_for(sessions_file: Path) -> None:
    """With none read there is nothing to remember."""
    assert figures(sessions_file, Contender.ANYTIME).observed_share == 1.0
    learning, fixed = (figures(sessions_file, who, observe_share=0.0) for who in (Contender.ANYTIME, Contender.FIXED))
    assert learning.observed_share == 1.0  # nothing is known yet, so all is wanted
    assert fixed.observed_share == 0.0
