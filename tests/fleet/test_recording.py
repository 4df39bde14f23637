import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.recording import Recording, read_recording

RUN = Path(__file__).resolve().parents[3] / "shared" / "data" / "vllm-runs" / "rtx4090-llama-3.1-8b"


def row(arrival: float | None, queued: float | None, **more: Any) -> dict[str, Any]:
    """A request that took a second to its first token and another one to its last."""
    times = (
        {} if queued is None else {"scheduled_ts": queued, "first_token_ts": queued + 1, "last_token_ts": queued + 2}
    )
    return {"input_toks": 100, "output_toks": 11, "arrival_time": arrival, "queued_ts": queued, **times, **more}


def recorded(directory: Path, *rows: dict[str, Any], series: str | None = None) -> Recording:
    """What is read of such a directory."""
    (directory / "meta.json").write_text("{}")
    (directory / "requests.jsonl").write_text("\n".join(json.dumps(each) for each in rows) + "\n\n")
    if series is not None:
        (directory / "timeseries.csv").write_text(series)
    return read_recording(directory)


def test_arrivals_stand_on_the_engines_clock(tmp_path: Path) -> None:
    """The shortest way to the engine tells how the clocks differ; the other request waited half a second for it."""
    found = recorded(tmp_path, row(1.7e9, 50.25), row(1.7e9 + 1, 51.75)).requests
    assert found.arrival_s == pytest.approx([0, 1])
    assert found.queued_s == pytest.approx([0, 1.5])
    assert found.last_token_s == pytest.approx([2, 3.5])


def test_requests_are_put_in_order(tmp_path: Path) -> None:
    """Of their arrival, whatever the file's."""
    found = recorded(tmp_path, row(1003, 13, input_toks=3), row(1001, 11, input_toks=1), row(1002, 12, input_toks=2))
    assert found.requests.prompt_tokens.tolist() == [1, 2, 3]


def test_without_arrivals_the_engine_says_when(tmp_path: Path) -> None:
    """One that is missing is enough to mistrust all."""
    assert recorded(tmp_path, row(None, 11), row(1000, 14)).requests.arrival_s.tolist() == [0, 3]


def test_an_aborted_request_is_load_but_not_compared(tmp_path: Path) -> None:
    """It came to the engine and has no last token."""
    aborted = row(1001, 11, last_token_ts=None, output_toks=0)
    found = recorded(tmp_path, row(1000, 10), aborted)
    assert found.requests.complete.tolist() == [True, False]
    assert found.requests.output_tokens.tolist() == [11, 1]


def test_what_never_came_is_counted(tmp_path: Path) -> None:
    """Without a time or a length a line says nothing."""
    found = recorded(tmp_path, row(1000, 10), row(1001, None), row(1002, 12, input_toks=None))
    assert (len(found.requests.arrival_s), found.skipped) == (1, 2)


def test_a_zero_is_no_time(tmp_path: Path) -> None:
    """VLLM leaves it where nothing happened."""
    found = recorded(tmp_path, row(1000, 10), row(1001, 11, first_token_ts=0.0)).requests
    assert np.isnan(found.first_token_s[1])


def test_a_time_series_may_be_missing_or_empty(tmp_path: Path) -> None:
    """Both are the same."""
    assert recorded(tmp_path, row(1, 10)).timeline is None
    assert recorded(tmp_path, row(1, 10), series="t,running,waiting,kv_cache_pct\n").timeline is None


def test_a_time_series_is_read_by_its_header(tmp_path: Path) -> None:
    """Columns in any order, more of them than are wanted, and preemptions added up."""
    series = "preempted,t,other,waiting,running,kv_cache_pct\n2,1.0,x,7,5,50\n1,2.0,x,6,4,25\n"
    found = recorded(tmp_path, row(1, 10), series=series).timeline
    assert found is not None
    assert found.running.tolist() == [5, 4]
    assert found.waiting.tolist() == [7, 6]
    assert found.kv_share is not None
    assert found.kv_share.tolist() == [0.5, 0.25]
    assert found.preemptions == 3


def test_a_column_that_stayed_empty_is_not_known(tmp_path: Path) -> None:
    """Some recorders write 0 for KV whatever is in use."""
    found = recorded(tmp_path, row(1, 10), series="t,running,waiting,kv_cache_pct\n1,5,7,0.0\n").timeline
    assert found is not None
    assert found.kv_share is None
    assert found.preemptions is None


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("meta.json", None, "meta.json cannot be read"),
        ("meta.json", "{", "is not JSON"),
        ("meta.json", "[]", "no JSON object"),
        ("requests.jsonl", None, "requests.jsonl cannot be read"),
        ("requests.jsonl", "{}\n{", "line 2: not JSON"),
        ("requests.jsonl", "[]", "line 1: expected a JSON object"),
        ("requests.jsonl", "", "no complete request"),
        ("requests.jsonl", '{"input_toks": 5}', "no complete request"),
        ("timeseries.csv", "t,running\n1,2\n", "no time series with columns t, running, waiting"),
        ("timeseries.csv", "t,running,waiting\n1,two,3\n", "no time series"),
    ],
)
def test_mistakes_are_named(name: str, content: str | None, complaint: str, tmp_path: Path) -> None:
    """With the file and what is wrong in it."""
    recorded(tmp_path, row(1000, 10))
    (tmp_path / name).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError, match=complaint):
        read_recording(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """Before anything in it is looked for."""
    with pytest.raises(ConfigurationError, match="is no directory"):
        read_recording(tmp_path / "gone")


def test_the_public_run_is_read_whole() -> None:
    """300 requests, none left out, with the published means."""
    if not RUN.is_dir():
        pytest.skip("the recorded run is not on this machine")
    found = read_recording(RUN)
    requests = found.requests
    assert (len(requests.arrival_s), found.skipped) == (300, 0)
    assert requests.complete.all()
    assert (requests.first_token_s - requests.queued_s).mean() == pytest.approx(65.5, abs=0.05)
    assert found.engine.kv_blocks == 2588
    assert found.timeline is not None
    assert len(found.timeline.time_s) == 184
