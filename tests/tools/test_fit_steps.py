import re
from pathlib import Path

import pytest

from tests.tools.test_plans import script

DOCUMENT = Path("docs/hardware.md").read_text(encoding="utf-8")


def rows(printed: str) -> list[list[str]]:
    """Figures of each line below a heading."""
    lines = (line.split(":")[-1] for line in printed.splitlines() if line.startswith("  "))
    return [[figure.replace("-", "−") for figure in re.findall(r"[-+]?[0-9]+\.[0-9]+", line)] for line in lines]


@pytest.mark.parametrize("show", ["show_h100", "show_decode"])
def test_the_document_has_what_is_printed(show: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its tables are those of the command that stands beside them, figure by figure."""
    getattr(script("fit_steps"), show)()
    printed = rows(capsys.readouterr().out)
    tables = [
        re.findall(r"[−+]?[0-9]+\.[0-9]+", line.split("|", 2)[2])
        for line in DOCUMENT.splitlines()
        if line.count("|") > 3
    ]
    without_rate = [row[1:] if show == "show_h100" else row for row in printed]
    assert len(printed) > 3
    assert [row for row in without_rate if row not in tables] == []
