"""A run that was recorded on a slower GPU than the catalogue's is met by a refitted entry."""

import json
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.recalibrate import recalibrate
from extproc.fleet.validate import validate

META = {
    "model": "meta-llama/Llama-3.1-8B",
    "vllm_version": "0.19.0",
    "engine_kwargs": {"max_model_len": 8192, "max_num_seqs": 64, "max_num_batched_tokens": 2048},
    "kv_cache": {"num_gpu_blocks": 2588, "block_size": 16},
    "hardware": {"device_name": "NVIDIA GeForce RTX 4090"},
}
SLOWER = "rtx-4090:\n  like: rtx-4090\n  corrections: {decode_scale: 1.2, prefill_scale: 1.4}\n"


def record(directory: Path, ends: list[tuple[float, float]]) -> None:
    """Thirty requests, two in a second, with the times of their first and last tokens."""
    (directory / "meta.json").write_text(json.dumps(META))
    rows = [
        {"input_toks": 1500, "output_toks": 80, "arrival_time": 1e9 + 0.5 * number, "queued_ts": 0.5 * number,
         "scheduled_ts": 0.5 * number, "first_token_ts": first, "last_token_ts": last}
        for number, (first, last) in enumerate(ends)
    ]  # fmt: skip
    (directory / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def slow_run(tmp_path: Path) -> Path:
    """What the simulator makes of a GPU that decodes a fifth slower and prefills two fifths slower."""
    record(tmp_path, [(0.5 * number + 0.2, 0.5 * number + 2.0) for number in range(30)])
    slower = tmp_path / "slower.yaml"
    slower.write_text(SLOWER)
    replayed = validate(tmp_path, gpu=str(slower), profile=False).replayed
    record(tmp_path, list(zip(replayed.first_token_s.tolist(), replayed.last_token_s.tolist(), strict=True)))
    return tmp_path


def test_both_factors_are_found(slow_run: Path, tmp_path: Path) -> None:
    """Decoding takes most of the time, so its factor is sharper; together they leave less than one percent."""
    found = recalibrate(slow_run, tmp_path / "mine.yaml")
    assert found.decode_scale == pytest.approx(1.2, rel=0.05)
    assert found.prefill_scale == pytest.approx(1.4, rel=0.1)
    assert max(map(abs, found.errors.values())) < 0.01


def test_the_entry_is_read_by_other_commands(slow_run: Path, tmp_path: Path) -> None:
    """With it the run is met; without it, it was not."""
    file = tmp_path / "mine.yaml"
    recalibrate(slow_run, file)
    before, after = (
        validate(slow_run, gpu=gpu, profile=False).metrics["e2e_mean_s"].error for gpu in (None, str(file))
    )
    assert before is not None
    assert after is not None
    assert abs(after) < 0.02 < abs(before)


def test_the_file_is_written_once(slow_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries are made without it: what stood there is whole until the end."""
    written: list[Path] = []
    once = Path.write_text

    def remembered(path: Path, text: str, encoding: str | None = None) -> int:
        written.append(path)
        return once(path, text, encoding=encoding)

    monkeypatch.setattr(Path, "write_text", remembered)
    recalibrate(slow_run, tmp_path / "mine.yaml")
    assert written == [tmp_path / "mine.yaml"]


def test_a_file_that_cannot_be_written_is_named(slow_run: Path, tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(ConfigurationError, match="cannot be written"):
        recalibrate(slow_run, tmp_path / "missing" / "mine.yaml")
