import io
import json
import re

from rich.console import Console

from extproc.demo.mix import ask_of
from extproc.demo.outcome import Outcome, Verdict
from extproc.demo.scrape import Learned, Scraped
from extproc.demo.screen import print_summary, screen
from extproc.demo.summary import SETTLED_SAMPLES, PairedTimes, Tally

SERVICE = Scraped({"prose": Learned(4.1, SETTLED_SAMPLES), "code": Learned(3.0, 7)}, 0.001, 0.0002, 3)


def tally() -> Tally:
    """One request, sent long though it fits."""
    body = {"messages": [{"role": "user", "content": "x" * 1000}], "max_tokens": 9}
    verdict = Verdict("long", "exceeds", "cold", "prose", "text")
    found = Tally(threshold_tokens=8192)
    found.add(
        Outcome(
            ask_of(json.dumps(body).encode()), 200, instance="long", verdict=verdict, prompt_tokens=250, has_usage=True
        )
    )
    return found


def test_summary_is_plain_text_and_complete() -> None:
    """Decisions, effort, misroutes, promise, ratios and latency stand there without a control code."""
    file = io.StringIO()
    times = PairedTimes(routed_s=[0.003], baseline_s=[0.001])
    print_summary(Console(file=file, width=110), tally(), SERVICE, times)
    text = file.getvalue()
    assert "\x1b" not in text
    assert re.search(r"long\W+exceeds\W+cold\W+1\b", text)
    assert re.search(r"text\W+1\W+100\.0%\W+all of the text", text)
    promise = "0.00% of 1 requests by their true length, 0.02% by the service's own metrics; promised 0.10% at most."
    assert f"Sent short and did not fit: {promise} Drift alarms: 3." in " ".join(text.split())
    assert re.search(r"prose\W+4\.100\W+4\.000\W+\+2\.5%\W+200\W+yes", text)
    assert re.search(r"code\W+3\.000\W+-\W+-\W+7\W+too few", text)
    assert re.search(r"p99\W+3\.00\W+1\.00\W+\+2\.00", text)


def test_where_nothing_is_promised_or_judged_it_says_so() -> None:
    """An estimator without a promise, or a run without a judged request, shows no number that is none."""
    file = io.StringIO()
    print_summary(Console(file=file, width=110), Tally(threshold_tokens=8192), Scraped(), PairedTimes())
    text = " ".join(file.getvalue().split())
    assert "none judged of 0 requests" in text
    assert "nothing is promised" in text


def test_plain_progress_is_a_few_lines() -> None:
    """Off a terminal, many looks make no more than a handful of lines."""
    file = io.StringIO()
    so_far = Tally(threshold_tokens=8192)
    with screen(Console(file=file, width=110), 100) as view:
        for so_far.requests in range(1, 101):
            view.show(so_far, SERVICE)
    lines = file.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[-1].startswith("100 requests:")
    assert "prose 4.10" in lines[-1]


def test_terminal_progress_is_live() -> None:
    """On a terminal the tables are drawn in place."""
    file = io.StringIO()
    output = Console(file=file, width=110, force_terminal=True, _environ={"TERM": "xterm-256color"})
    with screen(output, 100) as view:
        view.show(tally(), SERVICE)
    assert "\x1b" in file.getvalue()
    assert "Misroutes" in file.getvalue()


def test_a_terminal_that_cannot_redraw_gets_lines() -> None:
    """TERM=dumb, as build servers and editors set it, means plain progress."""
    file = io.StringIO()
    output = Console(file=file, width=110, force_terminal=True, _environ={"TERM": "dumb"})
    with screen(output, 1) as view:
        view.show(tally(), SERVICE)
    assert "requests:" in file.getvalue()
    assert "\x1b" not in file.getvalue()
