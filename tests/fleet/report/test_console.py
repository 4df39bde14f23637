import io
import re
from pathlib import Path

from rich.console import Console

from extproc.fleet.answers import Plan
from extproc.fleet.report.console import show
from extproc.fleet.report.shown import count


def screen(plan: Plan, report: Path | None = None) -> str:
    """What a wide terminal shows."""
    file = io.StringIO()
    show(plan, Console(file=file, width=200, highlight=False), report=report)
    return file.getvalue()


def test_the_terminal_shows_the_answer(plan: Plan) -> None:
    """The verdict's sentence, every fleet, every note; never what is no number."""
    text = screen(plan)
    assert plan.sentence in " ".join(text.split())
    assert all(fleet.name in text for fleet in plan.fleets)
    assert all(note in " ".join(text.split()) for note in plan.notes)
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_the_terminal_shows_what_can_be_copied(saved: Plan) -> None:
    """The commands of the recommended pools, and where the report is."""
    text = screen(saved, Path("/somewhere/report.html"))
    chosen = saved.fleets[saved.recommended or 0]
    assert all(pool.command in text.replace(" \\\n  ", " ") for pool in chosen.pools)
    assert "Report: /somewhere/report.html" in text
    assert count(chosen.gpus) in text


def test_a_plan_without_fleets_shows_no_recommendation(infeasible: Plan) -> None:
    """Only why."""
    text = screen(infeasible)
    assert "Recommended" not in text
    assert "vllm serve" not in text
    assert "131.4 GiB" in text
