import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from extproc.evaluate.evaluation import Evaluation, evaluate
from extproc.evaluate.options import EvaluateOptions
from extproc.evaluate.report import console, show, steps

Asked = Callable[..., EvaluateOptions]


def shown(evaluation: Evaluation, options: EvaluateOptions) -> str:
    """What a person sees, without line breaks inside cells."""
    output = io.StringIO()
    show(Console(file=output, width=200), evaluation, options)
    return output.getvalue()


def row_of(text: str, title: str, name: str) -> list[str]:
    """The cells of a table's row."""
    table = text.split(title, 1)[1]
    line = next(line for line in table.splitlines() if line.startswith(f"│ {name}"))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_tables_show_the_figures(asked: Asked) -> None:
    """Shares as percentages with their range, in the columns named."""
    options = asked()
    found = evaluate(options, lambda: None)
    text = shown(found, options)
    report = found.estimators["fixed"]
    shares, spread = report.figures.shares, report.range["under"]
    assert spread is not None
    cells = row_of(text, "Misroutes", "fixed")
    assert cells[1] == "200"
    assert cells[3] == f"{shares.under:.2%} ({100 * spread.min:.2f}–{100 * spread.max:.2f})"
    assert cells[4] == "–"
    assert row_of(text, "Errors and work", "fixed")[3] == "50.00%"
    assert ("by bounds" in text, "by sample" in text, "by memory" in text) == (True, True, False)
    assert row_of(text, "Misroutes", "ema")[0] == "ema (γ = 2)"
    assert "30 rows; 2 × 200 requests, llama3 counts, threshold 2000 tokens" in text


def test_what_is_held_out_takes_the_place_of_first_sights(asked: Asked) -> None:
    """It says the same with nothing else in the way."""
    options = asked(held_out_share=0.4)
    found = evaluate(options, lambda: None)
    text = shown(found, options)
    assert "held out" in text.split("┡")[0]
    figures = found.estimators["fixed"].figures
    assert row_of(text, "Misroutes", "fixed")[6:9] == [
        f"{share:.2%}" for share in (figures.held_out.misrouted, figures.held_out.under, figures.held_out.over)
    ]
    first = asked()
    assert "first sight" in shown(evaluate(first, lambda: None), first).split("┡")[0]


def test_changes_and_sessions_have_tables_of_their_own(asked: Asked, sessions_file: Path) -> None:
    """With the definition of what is back, and the calls counted."""
    options = asked(swap_tokenizer_at=0.5, sessions=sessions_file)
    found = evaluate(options, lambda: None)
    text = shown(found, options)
    assert "never again more than 4 of the last 1000 requests under-routed" in text
    swap = found.changes["swap"]["fixed"]
    cells = row_of(text, "After the tokenizer was swapped", "fixed")
    assert cells[1:4] == ["not in 2 seeds", "not in 2 seeds", f"{swap.under_during:.2%}"]
    assert row_of(text, "Conversations", "fixed")[1:6] == ["2", "1", "100.0%", "1", "0.00%"]


def test_what_is_back_says_after_how_many_answers(asked: Asked) -> None:
    """A promise that even the fixed ratio keeps is kept from the first answer on."""
    options = asked(swap_tokenizer_at=0.5, promise=0.5)
    text = shown(evaluate(options, lambda: None), options)
    assert row_of(text, "After the tokenizer was swapped", "fixed")[1:3] == ["0", "0"]


def test_what_could_not_be_judged_has_no_numbers(asked: Asked, requests_file: Path) -> None:
    """A dash in the table, nothing in the picture's place of a number, and a note that says what to give."""
    requests_file.write_text(requests_file.read_text().replace("max_tokens", "least_tokens"))
    options = asked(swap_tokenizer_at=0.5)
    text = shown(evaluate(options, lambda: None), options)
    assert row_of(text, "Misroutes", "fixed")[1:4] == ["0", "–", "–"]
    assert row_of(text, "After the tokenizer was swapped", "fixed")[3:5] == ["–", "0"]
    assert "Note: No request could be judged" in text
    assert "--max-tokens-mix 256:.5,1024:.5" in text


def test_sessions_alone_show_nothing_of_requests(sessions_file: Path) -> None:
    """There is no empty table."""
    options = EvaluateOptions(sessions=sessions_file, jobs=1, estimators=())
    assert "Misroutes" not in shown(evaluate(options, lambda: None), options)


def test_a_file_gets_no_control_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """Output that is no terminal is plain, wide enough for the tables, and free of the progress bar."""
    with steps(console(to_stderr=True), 2) as step:
        step()
    plain = console(to_stderr=False)
    plain.print("[bold]word[/bold] 1")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("word 1\n", "")
    assert plain.width == 170


def test_a_terminal_sees_how_far_it_is() -> None:
    """Finished runs are counted."""
    output = io.StringIO()
    terminal = Console(file=output, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with steps(terminal, 2) as step:
        step()
    assert "1/2" in output.getvalue()
