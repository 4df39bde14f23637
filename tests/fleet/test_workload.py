import json
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.arrivals import BATCH, ArrivalKind, Bursty, Poisson, Recorded
from extproc.fleet.declared import Absent, AsRecorded, Exact, parse_policy
from extproc.fleet.samples import ROWS, FixedShare
from extproc.fleet.values import ABSENT, CATEGORIES, Batch
from extproc.fleet.workload import Options, Workload, busiest, of_file, of_preset, synthetic
from extproc.routing.values import Category


def first(workload: Workload, requests: int, seed: int = 1) -> Batch:
    """The first requests of a workload, in one batch."""
    return next(workload.batches(seed=seed, requests=requests))


def written(tmp_path: Path, lines: list[dict[str, object]]) -> Path:
    """A trace of these lines."""
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def log(tmp_path: Path) -> Path:
    """Our own access log of four requests."""
    lines = [
        {"arrival_s": 10.0, "prompt_tokens": 100, "completion_tokens": 1, "max_tokens": 16, "category": "code"},
        {"arrival_s": 11.0, "prompt_tokens": 200, "completion_tokens": 2, "max_tokens": 16, "category": "cjk"},
        {"arrival_s": 11.5, "prompt_tokens": 300, "completion_tokens": 3, "category": "code"},
        {"arrival_s": 16.0, "prompt_tokens": 400, "completion_tokens": 4, "max_tokens": 16, "category": "code"},
    ]
    return written(tmp_path, [dict(line) for line in lines])


def test_requests_in_order_come_in_whole_turns(tmp_path: Path) -> None:
    """As many as are asked for and more, behind a quarter of that for the warm-up; drawn ones as many as asked for."""
    recorded = of_file(log(tmp_path))
    assert [recorded.whole_turns(requests, 0.2) for requests in (1, 4, 5, 12)] == [5, 5, 10, 15]
    assert of_preset("azure-2023").whole_turns(17, 0.2) == 17


def test_the_busiest_part_of_a_long_trace(tmp_path: Path) -> None:
    """Requests in a row that come in the least time, at their own pace; short traces and drawn ones stay."""
    workload = of_file(log(tmp_path), Options(rate_per_s=1.0))
    three = busiest(workload, 3)
    assert three.rows.prompt_tokens.tolist() == [100, 200, 300]
    assert first(three, 3).arrival_s.tolist() == pytest.approx([0.0, 0.5, 0.75])
    assert three.rate_per_s == pytest.approx(2 / 0.75)
    assert "busiest 3 in a row of 4" in three.source
    assert busiest(workload, 4) is workload
    drawn = of_preset("azure-2023")
    assert busiest(drawn, 3) is drawn


def test_rows_in_order_without_times_are_the_first(tmp_path: Path) -> None:
    """Where prefixes alone give the order, no part of it is busier than another."""
    lines = [{"timestamp": 1000 * n, "input_length": 600, "output_length": 5, "hash_ids": [n, 9]} for n in range(5)]
    workload = busiest(of_file(written(tmp_path, lines), Options(arrivals=ArrivalKind.POISSON, rate_per_s=1.0)), 2)
    assert workload.in_order
    assert len(workload.rows.prompt_tokens) == 2
    assert workload.rate_per_s == 1.0


def same(left: Batch, right: Batch) -> bool:
    """Whether two batches are equal in every column."""
    return all(mine.tolist() == other.tolist() for mine, other in zip(left[:4], right[:4], strict=True))


def test_batches_are_bounded_and_go_on() -> None:
    """Four batches for 200,000 requests; times ascend over their seams."""
    batches = list(of_preset("azure-2023", Options(rate_per_s=1000.0)).batches(seed=3, requests=200_000))
    assert [len(batch.arrival_s) for batch in batches] == [BATCH, BATCH, BATCH, 200_000 - 3 * BATCH]
    assert all(before.arrival_s[-1] <= after.arrival_s[0] for before, after in pairwise(batches))
    assert batches[-1].arrival_s[-1] == pytest.approx(200.0, rel=0.02)
    assert all(len(column) == len(batch.arrival_s) for batch in batches for column in batch[:4])


def test_the_seed_decides() -> None:
    """The same one gives the same requests, another one others."""
    workload = of_preset("azure-2023-conv")
    assert same(first(workload, 500), first(workload, 500))
    assert not same(first(workload, 500), first(workload, 500, seed=2))


def test_limits_do_not_change_who_comes() -> None:
    """Two policies are compared on the same requests at the same times."""
    plain = first(of_preset("azure-2023-conv"), 500)
    ample = first(of_preset("azure-2023-conv", Options(declared=parse_policy("over:4096:1"))), 500)
    assert ample.arrival_s.tolist() == plain.arrival_s.tolist()
    assert ample.prompt_tokens.tolist() == plain.prompt_tokens.tolist()
    assert ample.declared_tokens.min() == 4096


def test_what_is_drawn_has_the_lengths_of_the_closed_form() -> None:
    """Means and the share under a threshold agree, within what chance allows."""
    workload = of_preset("azure-2023", Options(declared=parse_policy("mix:256:.5,1024:.5")))
    lengths, drawn = workload.lengths(), first(workload, BATCH)
    assert lengths.weight.sum() == pytest.approx(1.0)
    for of_form, of_draws in zip(lengths[:3], drawn[1:4], strict=True):
        assert (lengths.weight * of_form).sum() == pytest.approx(of_draws.mean(), rel=0.02)
    fits = lengths.prompt_tokens + lengths.declared_tokens <= 4096
    fitting = drawn.prompt_tokens + drawn.declared_tokens <= 4096
    assert (lengths.weight * fits).sum() == pytest.approx(fitting.mean(), abs=0.005)


def test_prompts_and_outputs_come_together() -> None:
    """Long prompts of the merged Azure trace are code, whose outputs are short: drawn requests keep that."""
    drawn = first(of_preset("azure-2023"), BATCH)
    assert np.corrcoef(drawn.prompt_tokens, drawn.output_tokens)[0, 1] == pytest.approx(-0.2, abs=0.02)


def test_a_trace_is_replayed_at_its_own_times(tmp_path: Path) -> None:
    """In order, again and again, with the limits that were recorded."""
    workload = of_file(log(tmp_path))
    assert (workload.rate_per_s, workload.declared, workload.in_order) == (0.5, AsRecorded(), True)
    drawn = first(workload, 6)
    assert drawn.arrival_s.tolist() == [0.0, 1.0, 1.5, 6.0, 8.0, 9.0]
    assert drawn.prompt_tokens.tolist() == [100, 200, 300, 400, 100, 200]
    assert drawn.output_tokens.tolist() == [1, 2, 3, 4, 1, 2]
    assert drawn.declared_tokens.tolist() == [16, 16, ABSENT, 16, 16, 16]
    assert [CATEGORIES[number] for number in drawn.categories[:2]] == [Category.CODE, Category.CJK]


def test_a_trace_is_scaled_to_a_rate(tmp_path: Path) -> None:
    """Its bursts move together."""
    drawn = first(of_file(log(tmp_path), Options(rate_per_s=5.0, declared=Exact())), 4)
    assert drawn.arrival_s == pytest.approx([0.0, 0.1, 0.15, 0.6])
    assert drawn.declared_tokens.tolist() == [1, 2, 3, 4]


def test_a_trace_may_come_at_random(tmp_path: Path) -> None:
    """Then its rows are drawn."""
    workload = of_file(log(tmp_path), Options(arrivals=ArrivalKind.POISSON))
    assert workload.arrivals == Poisson(0.5)
    drawn = first(workload, 4000)
    assert np.bincount(drawn.prompt_tokens // 100).tolist() == pytest.approx([0, 1000, 1000, 1000, 1000], abs=150)
    assert drawn.prompt_tokens[:8].tolist() != [100, 200, 300, 400] * 2


def test_bursts_are_matched_to_the_trace(tmp_path: Path) -> None:
    """Twenty requests every half minute: the dispersion is measured, and kept at another rate; or given."""
    bursts = [
        {"arrival_s": 30.0 * burst + 0.1 * at, "prompt_tokens": 9, "completion_tokens": 1}
        for burst in range(40)
        for at in range(20)
    ]
    path = written(tmp_path, [dict(line) for line in bursts])
    matched = of_file(path, Options(arrivals=ArrivalKind.BURSTY, rate_per_s=100.0)).arrivals
    assert isinstance(matched, Bursty)
    assert matched.rate_per_s == 100.0
    assert matched.dispersion == pytest.approx(13.3, abs=0.5)
    given = of_file(path, Options(arrivals=ArrivalKind.BURSTY, dispersion=3.0)).arrivals
    assert isinstance(given, Bursty)
    assert given.dispersion == 3.0


def test_presets_come_in_bursts_as_their_traces_did() -> None:
    """Each has its dispersion and its rate."""
    arrivals = of_preset("azure-2023-conv", Options(arrivals=ArrivalKind.BURSTY)).arrivals
    assert isinstance(arrivals, Bursty)
    assert arrivals.rate_per_s == pytest.approx(5.53, abs=0.01)
    assert arrivals.dispersion == pytest.approx(3.87, abs=0.01)


def test_prefixes_keep_their_order_at_any_arrivals(tmp_path: Path) -> None:
    """Who continues a conversation comes after who began it; a second turn through the trace names other blocks."""
    lines: list[dict[str, object]] = [
        {"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [0]},
        {"timestamp": 3000, "input_length": 1100, "output_length": 1, "hash_ids": [0, 1]},
    ]
    workload = of_file(written(tmp_path, lines), Options(rate_per_s=2.0, arrivals=ArrivalKind.POISSON))
    drawn = first(workload, 3)
    assert drawn.prompt_tokens.tolist() == [600, 1100, 600]
    assert drawn.prefix_from is not None
    assert drawn.prefixes is not None
    assert (drawn.prefix_from.tolist(), drawn.prefixes.tolist()) == ([0, 1, 3, 4], [0, 0, 1, 2])


def test_long_traces_are_thinned_for_the_closed_form(tmp_path: Path) -> None:
    """Evenly along their totals, so that shares stay."""
    path = tmp_path / "long.csv"
    rows = "".join(f"{1 + at % 9973},{1 + at % 7}\n" for at in range(120_000))
    path.write_text("num_prefill_tokens,num_decode_tokens\n" + rows)
    lengths = of_file(path, Options(rate_per_s=1.0)).lengths()
    assert len(lengths.weight) == ROWS
    assert (lengths.weight * lengths.prompt_tokens).sum() == pytest.approx(9974 / 2, rel=0.01)
    assert (lengths.weight * lengths.output_tokens).sum() == pytest.approx(4.0, rel=0.02)


def test_a_distribution_needs_a_rate_and_names_its_split(tmp_path: Path) -> None:
    """It has no times, and does not tell prompt from output."""
    path = tmp_path / "cdf.json"
    path.write_text("[[100, 0.5], [200, 1.0]]")
    with pytest.raises(ConfigurationError, match="give a rate"):
        of_file(path)
    workload = of_file(path, Options(rate_per_s=7.0), output=FixedShare(0.5))
    assert workload.rate_per_s == 7.0
    assert "output_share=0.5" in workload.source
    lengths = workload.lengths()
    assert lengths.output_tokens.sum() / lengths.prompt_tokens.sum() == pytest.approx(1.0, abs=0.01)


def test_recorded_times_are_wanted_where_none_are(tmp_path: Path) -> None:
    """A preset has none either."""
    with pytest.raises(ConfigurationError, match="need a trace with times"):
        of_preset("azure-2023", Options(arrivals=ArrivalKind.RECORDED))
    with pytest.raises(ConfigurationError, match="must be above 0"):
        of_file(log(tmp_path), Options(rate_per_s=0.0))


def test_synthetic_lengths() -> None:
    """Medians as told; the mix of kinds and the policy as told."""
    options = Options(rate_per_s=3.0, declared=Absent(), categories={Category.LOGS: 1.0})
    drawn = first(synthetic(options, prompt_tokens=500.0, output_tokens=50.0), 20_000)
    assert np.median(drawn.prompt_tokens) == pytest.approx(500, rel=0.03)
    assert np.median(drawn.output_tokens) == pytest.approx(50, rel=0.03)
    assert (drawn.declared_tokens == ABSENT).all()
    assert {CATEGORIES[number] for number in drawn.categories} == {Category.LOGS}


@pytest.mark.parametrize(("prompt_tokens", "correlation"), [(0.0, 0.0), (10.0, 1.5)])
def test_synthetic_lengths_that_are_none(prompt_tokens: float, correlation: float) -> None:
    """Lengths below a token, correlations above 1."""
    with pytest.raises(ConfigurationError, match="synthetic lengths need"):
        synthetic(Options(rate_per_s=1.0), prompt_tokens=prompt_tokens, correlation=correlation)


def test_a_preset_takes_another_mix_of_kinds() -> None:
    """The operator knows better what texts are."""
    workload = of_preset("azure-2023-code", Options(categories={Category.CJK: 1.0}))
    assert {CATEGORIES[number] for number in first(workload, 100).categories} == {Category.CJK}


def test_recorded_streams_of_short_traces(tmp_path: Path) -> None:
    """A trace of four fills whole batches."""
    workload = of_file(log(tmp_path))
    assert isinstance(workload.arrivals, Recorded)
    batches = list(islice(workload.batches(seed=1, requests=BATCH + 10), 3))
    assert [len(batch.arrival_s) for batch in batches] == [BATCH, 10]
    assert batches[1].prompt_tokens[:4].tolist() == [100, 200, 300, 400]
    assert batches[1].arrival_s[0] == pytest.approx(BATCH / 0.5)


def test_a_log_says_how_many_lengths_were_drawn(tmp_path: Path) -> None:
    """Requests that nobody read come at their own times, as long as one that was read."""
    unread: dict[str, object] = {"arrival_s": 17.0, "pool": "short", "prompt_tokens": None}
    read: dict[str, object] = {"arrival_s": 10.0, "prompt_tokens": 100, "completion_tokens": 1, "weight": 5.0}
    workload = of_file(written(tmp_path, [read, unread]))
    assert "50% of the answers were not read" in workload.source
    assert first(workload, 2).prompt_tokens.tolist() == [100, 100]


def test_a_dispersion_makes_arrivals_bursty(tmp_path: Path) -> None:
    """It is never passed over: a preset and a trace with times come in bursts where one is given."""
    assert of_preset("azure-2023", Options(rate_per_s=9.0, dispersion=3.0)).arrivals == Bursty(9.0, 3.0)
    assert of_file(log(tmp_path), Options(dispersion=3.0)).arrivals == Bursty(0.5, 3.0)
    assert of_preset("azure-2023", Options(rate_per_s=9.0, dispersion=1.0)).arrivals == Poisson(9.0)


@pytest.mark.parametrize("kind", [ArrivalKind.POISSON, ArrivalKind.RECORDED])
def test_a_dispersion_of_other_arrivals_is_refused(kind: ArrivalKind, tmp_path: Path) -> None:
    """Only bursty ones have one to choose, whatever the source."""
    options, complaint = Options(arrivals=kind, dispersion=3.0), f"--arrivals {kind} asks for others"
    with pytest.raises(ConfigurationError, match=complaint):
        of_preset("azure-2023", options)
    with pytest.raises(ConfigurationError, match=complaint):
        of_file(log(tmp_path), options)


@pytest.mark.parametrize("value", [0.0, 0.99, -1.0, float("nan"), float("inf")])
def test_a_dispersion_below_chance_is_refused(value: float) -> None:
    """Arrivals more regular than Poisson's cannot be made of changing rates."""
    with pytest.raises(ConfigurationError, match="must be at least 1"):
        of_preset("azure-2023", Options(arrivals=ArrivalKind.BURSTY, dispersion=value))


def test_a_trace_that_was_cut_says_so(tmp_path: Path) -> None:
    """Its last line is left out; who plans should know that the file is not whole."""
    path = tmp_path / "trace.csv"
    path.write_text("ContextTokens,GeneratedTokens\n5,3\n6,4\n7")
    assert "cut off is left out" in of_file(path, Options(rate_per_s=1.0)).source
    path.write_text("ContextTokens,GeneratedTokens\n5,3\n6,4\n")
    assert "cut off" not in of_file(path, Options(rate_per_s=1.0)).source
    path.write_text('{"prompt_tokens": 5, "completion_tokens": 3}\n{"prompt_tok\n{"prompt')
    assert "2 lines that were cut off are left out" in of_file(path, Options(rate_per_s=1.0)).source
