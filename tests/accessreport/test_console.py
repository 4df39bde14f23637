from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from extproc.accessreport.console import show


def test_all_of_it_is_shown(tell: Any, answered: Any, unread: Any) -> None:
    """Verdict first, then tables, then notes, then where the page is; a model's name is no markup."""
    written = StringIO()
    output = Console(width=170, file=written)
    show(tell([answered(model="[red]m[/red]"), unread(), None]), output, report=Path("page.html"))
    shown = written.getvalue()
    told = [
        "Too early",
        "would have sent",
        "What was seen",
        "Decisions and the truth",
        "What thresholds would do",
        "• 1 line",
        "page.html",
    ]
    assert [shown.find(text) for text in told] == sorted(shown.find(text) for text in told)
    assert [text for text in told if text not in shown] == []
    assert "[red]m[/red]" in shown
