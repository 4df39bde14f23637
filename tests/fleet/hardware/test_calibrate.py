import json
from pathlib import Path

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.calibrate import refit
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.values import InstanceSpec


def llama() -> InstanceSpec:
    """An instance whose step times a recording is made from."""
    return instance_of(builtin().model("llama-3.1-8b"), builtin().gpu("h100"), 1, max_model_len=8192)


def recorded(directory: Path, instance: InstanceSpec, *, decode: float, prefill: float, requests: int = 60) -> Path:
    """A run of one request at a time, with decode and prefill slower by these factors."""
    steps, now, rows = instance.steps, 0.0, []
    for number in range(requests):
        prompt, output = 500 + 10 * number, 50
        first = now + prefill * (steps.dense_s[prompt] - steps.dense_s[1] + steps.pair_s * prompt**2 / 2)
        step = decode * (steps.dense_s[1] + steps.sequences_s[1] + steps.kv_s * (prompt + output / 2))
        times = {"scheduled_ts": now, "first_token_ts": first + step, "last_token_ts": first + step * output}
        rows.append({"input_toks": prompt, "output_toks": output, **times})
        now += first - now + step * output
    (directory / "requests.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    seconds = "\n".join(f"{second},1,0" for second in range(int(now) + 2))
    (directory / "timeseries.csv").write_text(f"t,running,waiting\n{seconds}\n")
    return directory


def test_scales_are_found_again(tmp_path: Path) -> None:
    """A run made with slower decode and prefill gives both factors back within a few percent."""
    found = refit(recorded(tmp_path, llama(), decode=1.3, prefill=1.6), llama())
    assert found.corrections.decode_scale == pytest.approx(1.3, rel=0.12)
    assert found.corrections.prefill_scale == pytest.approx(1.6, rel=0.12)
    assert found.decode_residual < 0.05


def test_it_is_read_back(tmp_path: Path) -> None:
    """The YAML that is written is an entry of the catalogue, and keeps the GPU's other figures."""
    h100 = builtin().gpu("h100")
    found = refit(recorded(tmp_path, llama(), decode=1.0, prefill=1.0), llama())
    path = tmp_path / "mine.yaml"
    path.write_text(found.as_yaml(h100))
    gpu = builtin().gpu(str(path))
    assert gpu.corrections == found.corrections
    assert gpu.memory_gib == h100.memory_gib


def test_too_little_is_refused(tmp_path: Path) -> None:
    """A recording of a handful of requests, or of none, is no ground for a correction."""
    with pytest.raises(ConfigurationError, match="at least 20"):
        refit(recorded(tmp_path, llama(), decode=1.0, prefill=1.0, requests=5), llama())
    (tmp_path / "requests.jsonl").write_text("[]\n")
    with pytest.raises(ConfigurationError, match="not a recording"):
        refit(tmp_path, llama())
    assert np.isfinite(llama().steps.kv_s)
