from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from extproc.accessreport.conclude import conclude
from extproc.accessreport.findings import Findings
from extproc.accessreport.tally import Tally
from extproc.routing.values import Category, Pool
from extproc.traces.accesslog import AccessLine

BEGAN = datetime(2026, 1, 1, 8, tzinfo=UTC)
Make = Callable[..., AccessLine]
Tell = Callable[..., Findings]


def _line(**fields: Any) -> AccessLine:
    """A request that went short for its estimate in shadow mode and was not read, but for what is said."""
    return AccessLine(
        **{
            "time": BEGAN,
            "pool": Pool.SHORT,
            "reason": "fits",
            "provenance": "calibrated",
            "stage": "size",
            "threshold_tokens": 8192,
            "shadow": True,
            "budget_tokens": 1500,
            "max_tokens": 500,
            "model": "llama",
            **fields,
        }
    )


@pytest.fixture
def unread() -> Make:
    """Makes a line of a request that was not read."""
    return _line


@pytest.fixture
def answered() -> Make:
    """Makes a line of a request that was read and judged, and stands for five."""

    def line(**fields: Any) -> AccessLine:
        known = {
            "weight": 5.0,
            "status": 200,
            "judged": True,
            "category": Category.PROSE,
            "estimated_prompt_tokens": 1100,
            "prompt_tokens": 1000,
            "completion_tokens": 100,
        }
        return _line(**(known | fields))

    return line


@pytest.fixture
def tell() -> Tell:
    """Makes findings of lines, which come one a second."""

    def told(lines: Sequence[AccessLine | None], *, thresholds: Sequence[int] = ()) -> Findings:
        tally = Tally()
        for at, line in enumerate(lines):
            tally.add(None if line is None else _at(line, at))
        return conclude(tally, files=["access.jsonl"], promise=0.001, thresholds=thresholds)

    return told


def _at(line: AccessLine, second: int) -> AccessLine:
    fields = {name: getattr(line, name) for name in line.__struct_fields__}
    return AccessLine(**{**fields, "time": BEGAN + timedelta(seconds=second)})
