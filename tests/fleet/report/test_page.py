import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.answers import Interval, Measured, Plan, Verdict
from extproc.fleet.report.page import page, write_report
from extproc.fleet.report.shown import count, percent, usd
from extproc.fleet.report.wording import VERDICTS
from extproc.fleet.unpriced import without_money
from extproc.fleet.values import Series

VOID = {"meta", "br", "hr", "img", "link", "input"}
LOADING = {"src", "srcset", "data", "poster"}


class Reader(HTMLParser):
    """Collects text, ids and what would be loaded, and refuses tags that do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens."""
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens and closes."""
        assert tag not in {"script", "link", "iframe", "object", "embed"}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in LOADING or name.endswith("href")]

    def handle_endtag(self, tag: str) -> None:
        """Closes what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keeps what people see."""
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def shown(self) -> str:
        """With single spaces."""
        return " ".join(" ".join(self.text).split())


def read(text: str) -> Reader:
    """A page, taken apart."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def test_a_page_is_balanced_and_its_ids_are_unique(text: str) -> None:
    """Whatever the verdict, every tag closes in order, and each id stands once although drawings share a page."""
    reader = read(text)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))


def test_a_page_loads_nothing(text: str) -> None:
    """All that it refers to stands in itself."""
    reader = read(text)
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert set(re.findall(r"url\(([^)]{0,5})", text)) <= {f"#{name}"[:5] for name in reader.ids}
    assert "@import" not in text
    assert "xlink" not in text.replace("xmlns:xlink", "")
    assert "http" not in reader.shown


def test_what_is_missing_is_left_out(text: str) -> None:
    """Neither text nor drawings name what is no number."""
    assert not re.search(r"\b(nan|NaN|None|inf|Infinity|undefined)\b", read(text).shown)
    assert not re.search(r"[\s\"](nan|inf)[\s\",]", text)


def test_the_verdict_and_every_fleet_are_there(plan: Plan, text: str) -> None:
    """With its GPUs and its cost, or with the reason why it cannot be built."""
    shown = read(text).shown
    assert VERDICTS[plan.verdict] in shown
    assert plan.sentence in shown
    for fleet in plan.fleets:
        assert fleet.name in shown
        wanted = [fleet.infeasible] if fleet.infeasible else [count(fleet.gpus), usd(fleet.usd_per_year)]
        assert all(each in shown for each in wanted if each)


def test_savings_are_named_with_their_baseline_and_interval(saved: Plan, saved_text: str) -> None:
    """Each with its share, its money, and both bounds of both."""
    shown = read(saved_text).shown.replace("\u00a0", " ")
    for saving in saved.savings:
        assert f"Saves against {saving.against} {percent(saving.share.mean)}" in shown
        assert f"{saving.gpus:,} GPUs fewer" in shown
        assert f"{percent(saving.share.low)} to {percent(saving.share.high)}" in shown
        assert f"{usd(saving.usd_per_year.low)} to {usd(saving.usd_per_year.high)}" in shown


def test_a_loss_is_called_one(saved: Plan) -> None:
    """A negative saving becomes a greater cost, with its bounds in ascending order."""
    first = saved.savings[0]
    lost = type(first.share)(-0.041, -0.05, -0.03)
    money = type(first.share)(-2e6, -3e6, -1e6)
    shown = read(page(replace(saved, savings=(replace(first, share=lost, usd_per_year=money),)))).shown
    shown = shown.replace("\u00a0", " ")
    assert f"Costs more than {first.against} 4.1 %" in shown
    assert "3.0 % to 5.0 % or 1.0 M$ to 3.0 M$" in shown


def test_the_summary_says_what_users_get(saved_text: str) -> None:
    """Waiting times of the recommended fleet with their bounds, and what went wrong with requests."""
    shown = read(saved_text).shown
    for text in ("TTFT P50", "TTFT P99", "TPOT P50", "TPOT P99", "Preempted", "Rejected", "Truncated"):
        assert text in shown
    assert "1.44 s (1.31 to 1.57 s)" in shown
    assert "67 ms (64 to 70 ms)" in shown


def test_what_long_prompts_are_allowed_is_said(saved: Plan, saved_text: str) -> None:
    """In the promise and beside the curves; nothing where all prompts are held to one time."""
    assert "first token within 2 s and each" in read(saved_text).shown
    assert "prompts of more than" not in read(saved_text).shown
    slo = replace(saved.ask.slo, ttft_s_per_token=0.0005)
    shown = read(page(replace(saved, ask=replace(saved.ask, slo=slo)))).shown
    assert "within 2 s, or 0.5 ms per prompt token where that is longer, and each further one within 80 ms" in shown
    assert "prompts of more than 4,000 tokens are allowed 0.5 ms per token" in shown


def test_the_sweep_names_every_threshold(saved: Plan, saved_text: str) -> None:
    """With both savings and the published one, or with why it is not feasible."""
    shown = read(saved_text).shown
    for row in saved.sweep:
        assert f"{row.threshold_tokens:,}" in shown
    assert "the long pool would be empty" in shown
    assert percent(saved.sweep[4].saving_published) in shown


def test_commands_can_be_copied(saved: Plan, saved_text: str) -> None:
    """Joined again, the lines are the very commands of both pools, and of one tuned pool to try first."""
    found = [each.replace(" \\\n  ", " ") for each in re.findall(r"<pre>(.*?)</pre>", saved_text, re.DOTALL)]
    typed = found.pop()
    assert typed == "dualpool plan --preset &lt;mine&gt;"
    chosen = saved.fleets[saved.recommended or 0]
    assert found == [pool.command for fleet in (chosen, saved.fleets[2]) for pool in fleet.pools]
    assert page(replace(saved, recommended=2)).count("<pre>") == 1


def test_a_plan_without_prices_counts_gpus(saved: Plan) -> None:
    """No dollar is on its page, and every fleet is still drawn and compared."""
    shown = read(page(without_money(replace(saved, ask=replace(saved.ask, priced=False), notes=())))).shown
    assert "$" not in shown.replace("M$ a year", "")
    assert "USD" not in shown.replace("GPU=USD", "")
    assert "Saves against B2 one tuned pool 6.9" in shown


def test_what_was_typed_stands_at_the_end(saved_text: str) -> None:
    """The command line, the seeds and the requests that made the figures; marks in notes are text."""
    shown = read(saved_text).shown
    assert "dualpool plan --preset <mine>" in shown
    assert "&lt;beyond&gt;" in saved_text
    assert "5 runs of 100,000 requests" in shown
    assert "7 May 2026" in shown


def test_without_simulation_nothing_is_said_of_users(unsimulated: Plan) -> None:
    """No empty table, no drawing without curves: one sentence says how to get them."""
    text = page(unsimulated)
    assert "nothing was simulated" in text
    assert "times-" not in text
    assert "TTFT P99" not in text


def test_no_fleet_means_no_recommendation(infeasible: Plan) -> None:
    """An infeasible plan has reasons in place of a summary."""
    shown = read(page(infeasible)).shown
    assert infeasible.verdict is Verdict.INFEASIBLE
    assert "Recommended" not in shown
    assert "<svg" not in page(infeasible)
    assert shown.count("131.4 GiB of weights") == len(infeasible.fleets)


def test_the_same_plan_gives_the_same_bytes(saved: Plan, tmp_path: Path) -> None:
    """No clock and no random id goes into the file."""
    for name in ("one.html", "two.html"):
        write_report(saved, tmp_path / name, command="dualpool plan")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_folder_that_is_not_there_is_named(saved: Plan, tmp_path: Path) -> None:
    """An operator's error."""
    with pytest.raises(ConfigurationError, match=r"no-folder.report\.html: No such file"):
        write_report(saved, tmp_path / "no-folder" / "report.html")


def test_an_empty_long_pool_leaves_no_trace(saved: Plan) -> None:
    """Two pools of which one has no instances and no requests: no command, no curve, no NaN."""
    chosen = saved.fleets[4]
    assert chosen.confirmed is not None
    no = Interval(math.nan, math.nan, math.nan)
    empty = Measured(
        no, no, no, no, no, no, no, no, no, no, ttft_curve=([], []), tpot_curve=([], []), series=Series()
    )  # fmt: skip
    short, long = chosen.pools
    fleet = replace(
        chosen,
        pools=(short, replace(long, instances=0, gpus=0, usd_per_hour=0.0, rate_per_s=0.0)),
        confirmed=replace(chosen.confirmed, pools=(chosen.confirmed.pools[0], empty), over=no),
    )
    text = page(replace(saved, fleets=(*saved.fleets[:4], fleet, *saved.fleets[5:])))
    assert not re.search(r"\b(nan|NaN)\b", text)
    assert text.count("<pre>") == 2  # of the short pool, and of one pool to begin with
    assert "54 × A100-80GB TP 4 short</td>" in text
