from pathlib import Path
from typing import Any

import pytest

from extproc.accessreport.page import page, write_report
from extproc.errors import ConfigurationError


def test_a_page_without_a_plan(tell: Any, answered: Any, unread: Any) -> None:
    """It stands alone, loads nothing, and a model's name stays text."""
    found = tell([answered(model="<script>"), unread()])
    text = page(found, plan=None, command="dualpool report access.jsonl", made_on="1 January 2026")
    assert "What routing would have done with 2 requests" in text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "dualpool report access.jsonl" in text
    assert "What pools this traffic takes" not in text


def test_a_page_that_cannot_be_written_says_why(tell: Any, answered: Any, tmp_path: Path) -> None:
    """As a mistake of whoever typed the path."""
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_report(tell([answered()]), tmp_path / "none" / "page.html", plan=None)
