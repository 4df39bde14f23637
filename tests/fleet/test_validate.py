import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.recording import Timeline
from extproc.fleet.validate import Comparison, Validation, as_json, shifted, ttfts_s, validate

RUN = Path(__file__).resolve().parents[3] / "shared" / "data" / "vllm-runs" / "rtx4090-llama-3.1-8b"
TARGETS = {"ttft_mean_s": 0.1, "tpot_mean_s": 0.1, "e2e_mean_s": 0.1, "ttft_p99_s": 0.2}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A short run on an RTX 4090: 40 requests, five in a second, each 20 ms to its first token and 10 for others."""
    meta: dict[str, Any] = {
        "model": "meta-llama/Llama-3.1-8B",
        "vllm_version": "0.19.0",
        "engine_kwargs": {"max_model_len": 8192, "max_num_seqs": 64, "max_num_batched_tokens": 2048},
        "kv_cache": {"num_gpu_blocks": 2588, "block_size": 16},
        "hardware": {"device_name": "NVIDIA GeForce RTX 4090"},
    }
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with (tmp_path / "requests.jsonl").open("w") as lines:
        for number in range(40):
            at = 100 + 0.2 * number
            times = {"queued_ts": at, "scheduled_ts": at, "first_token_ts": at + 0.02, "last_token_ts": at + 1.02}
            row = {"input_toks": 200, "output_toks": 101, "arrival_time": 1e9 + at, **times}
            lines.write(json.dumps(row) + "\n")
    series = "".join(f"{t}.0,5,0,{10 + t}\n" for t in range(1, 10))
    (tmp_path / "timeseries.csv").write_text("t,running,waiting,kv_cache_pct\n" + series)
    return tmp_path


def test_what_was_measured_is_what_was_recorded(run: Path) -> None:
    """Each figure by its definition; a decode step of an 8B model on that GPU takes about 17 ms in truth."""
    metrics = validate(run).metrics
    measured = {name: found.measured for name, found in metrics.items()}
    assert measured["ttft_mean_s"] == pytest.approx(0.02)
    assert measured["ttft_p99_s"] == pytest.approx(0.02)
    assert measured["tpot_mean_s"] == pytest.approx(0.01)
    assert measured["e2e_mean_s"] == pytest.approx(1.02)
    assert measured["running_mean"] == 5
    assert measured["waiting_mean"] == 0
    assert measured["kv_share_mean"] == pytest.approx(0.15)
    assert measured["output_tokens_per_s"] == pytest.approx(40 * 101 / 8.82)
    assert metrics["tpot_mean_s"].simulated == pytest.approx(0.018, rel=0.2)
    assert "preemptions" not in metrics


def test_without_a_time_series_the_requests_say_how_many_ran(run: Path) -> None:
    """40 requests of 1.02 s in 8.82 s; waiting and KV are not known."""
    (run / "timeseries.csv").unlink()
    metrics = validate(run).metrics
    assert metrics["running_mean"].measured == pytest.approx(40 * 1.02 / 8.82)
    assert metrics["running_mean"].simulated > metrics["running_mean"].measured
    assert not {"waiting_mean", "kv_share_mean"} & metrics.keys()


def test_a_run_of_the_simulators_own_is_met_exactly(run: Path) -> None:
    """Its figures written down as if they were recorded leave no error."""
    again(run, validate(run))
    metrics = validate(run).metrics
    errors = [found.error for found in metrics.values()]
    assert {"ttft_mean_s", "tpot_p99_s", "e2e_mean_s", "running_mean"} < metrics.keys()
    assert errors == pytest.approx([0.0] * len(errors), abs=1e-6)


def again(directory: Path, found: Validation) -> None:
    """Write down what was simulated in place of what was recorded."""
    requests, replayed = found.recording.requests, found.replayed
    with (directory / "requests.jsonl").open("w") as lines:
        for number in range(len(requests.arrival_s)):
            row = {
                "input_toks": int(requests.prompt_tokens[number]),
                "output_toks": int(requests.output_tokens[number]),
                "arrival_time": 1e9 + requests.arrival_s[number],
                "queued_ts": 50 + replayed.queued_s[number],
                "scheduled_ts": 50 + replayed.scheduled_s[number],
                "first_token_ts": 50 + replayed.first_token_s[number],
                "last_token_ts": 50 + replayed.last_token_s[number],
            }
            lines.write(json.dumps(row) + "\n")
    (directory / "timeseries.csv").unlink()


def test_errors_are_of_what_was_measured() -> None:
    """With their sign; nothing against nothing is right, something against nothing has no share."""
    assert Comparison(2.0, 1.5).error == -0.25
    assert Comparison(0.0, 0.0).error == 0.0
    assert Comparison(0.0, 3.0).error is None


def test_json_holds_the_figures_and_no_more() -> None:
    """Three numbers for each name."""
    assert as_json({"x": Comparison(2.0, 3.0)}) == {"x": {"measured": 2.0, "simulated": 3.0, "error": 0.5}}


def test_a_time_series_begins_with_its_first_work() -> None:
    """Idle seconds before it are cut from the time, not from the rows."""
    columns = (np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 4.0]), np.zeros(3))
    assert shifted(Timeline(*columns, None, None)).time_s.tolist() == [-1.0, 0.0, 1.0]


def test_idle_seconds_have_no_rows_on_either_side(run: Path) -> None:
    """Requests of two and a half seconds each six: rows stand only where a step ran, in vLLM and in the simulation."""
    with (run / "requests.jsonl").open("w") as lines:
        for number in range(20):
            at = 100.3 + 6 * number
            times = {"queued_ts": at, "scheduled_ts": at, "first_token_ts": at + 0.09, "last_token_ts": at + 2.6}
            lines.write(json.dumps({"input_toks": 500, "output_toks": 150, "arrival_time": 1e9 + at, **times}) + "\n")
    rows = "".join(f"{6 * n + t}.0,{int(t < 3)},0,1\n" for n in range(20) for t in (1, 2, 3))
    (run / "timeseries.csv").write_text("t,running,waiting,kv_cache_pct\n" + rows)
    found = validate(run)
    assert found.metrics["running_mean"].measured == pytest.approx(2 / 3, abs=0.02)
    assert found.metrics["running_mean"].error == pytest.approx(0, abs=0.05)


def test_a_time_series_that_stands_still_is_borne(run: Path) -> None:
    """Rows of one and the same time give no distance; the simulation is looked at by the second."""
    (run / "timeseries.csv").write_text("t,running,waiting\n1.0,5,0\n1.0,5,0\n")
    found = validate(run)
    assert found.metrics["running_mean"].measured == 5
    assert np.diff(found.replayed.timeline.time_s) == pytest.approx(1.0)


def test_aborted_requests_are_left_out_of_both(run: Path) -> None:
    """The 40th never got a token."""
    lines = (run / "requests.jsonl").read_text().splitlines()
    last = json.loads(lines[-1]) | {"first_token_ts": None, "last_token_ts": None}
    (run / "requests.jsonl").write_text("\n".join([*lines[:-1], json.dumps(last)]))
    found = validate(run)
    assert found.compared == 39
    assert [len(side) for side in ttfts_s(found)] == [39, 39]


def test_single_tokens_have_no_time_between(run: Path) -> None:
    """Answers of one token have a TTFT and no TPOT."""
    rows = [json.loads(line) | {"output_toks": 1} for line in (run / "requests.jsonl").read_text().splitlines()]
    (run / "requests.jsonl").write_text("\n".join(map(json.dumps, rows)))
    metrics = validate(run).metrics
    assert "tpot_mean_s" not in metrics
    assert metrics["ttft_mean_s"].measured == pytest.approx(0.02)


def test_a_cache_that_holds_no_request_is_named(run: Path) -> None:
    """Rather than figures of nothing."""
    meta = json.loads((run / "meta.json").read_text())
    (run / "meta.json").write_text(json.dumps(meta | {"kv_cache": {"num_gpu_blocks": 3}}))
    with pytest.raises(ConfigurationError, match="no request fits 3 blocks"):
        validate(run)


@pytest.mark.parametrize("profile", [True, False])
def test_the_public_run_is_met(profile: bool) -> None:  # noqa: FBT001
    """Within the promised errors, with its kernel times and with the data sheet alone."""
    if not RUN.is_dir():
        pytest.skip("the recorded run is not on this machine")
    metrics = validate(RUN, profile=profile).metrics
    for name, most in TARGETS.items():
        assert metrics[name].error == pytest.approx(0, abs=most), name
    assert metrics["running_mean"].error == pytest.approx(0, abs=0.05)
    assert metrics["waiting_mean"].error == pytest.approx(0, abs=0.1)
