import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extproc.cli import app
from extproc.errors import ConfigurationError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A recorded run of three requests whose meta.json names neither GPU nor model."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "meta.json").write_text('{"vllm_version": "0.19.0", "engine_kwargs": {"max_model_len": 4096}}')
    rows = (
        {"input_toks": 300, "output_toks": 20, "arrival_time": at, "queued_ts": at, "scheduled_ts": at,
         "first_token_ts": at + 0.1, "last_token_ts": at + 0.6}
        for at in (10.0, 10.3, 11.0)
    )  # fmt: skip
    (folder / "requests.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def run(*arguments: str | Path) -> str:
    """The command's output."""
    shown = CliRunner().invoke(app, ["validate", *map(str, arguments)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


NAMED = ("--gpu", "rtx-4090", "--model", "llama-3.1-8b")


def test_help_teaches() -> None:
    """What a directory holds, and that nothing is fitted."""
    shown = " ".join(run("--help").split())
    assert "requests.jsonl, meta.json" in shown
    assert "Nothing is fitted to its latencies" in shown


def test_json_is_the_figures_and_nothing_else(directory: Path) -> None:
    """Each with what was measured, what was simulated, and the error between."""
    found = json.loads(run(directory, *NAMED, "--json"))
    assert {"ttft_mean_s", "ttft_p50_s", "ttft_p99_s", "tpot_mean_s", "e2e_mean_s", "running_mean"} <= found.keys()
    for figures in found.values():
        assert figures.keys() == {"measured", "simulated", "error"}
    assert found["ttft_mean_s"]["measured"] == pytest.approx(0.1)
    assert found["tpot_mean_s"]["measured"] == pytest.approx(0.5 / 19)


def test_a_person_gets_a_table_and_a_picture(directory: Path, tmp_path: Path) -> None:
    """Beside what it rests on."""
    picture = tmp_path / "p.svg"
    shown = run(directory, *NAMED, "--plot", picture)
    assert "llama-3.1-8b on 1x rtx-4090, vLLM 0.19.0" in shown
    assert "│ ttft_mean_s" in shown
    assert picture.read_text().startswith("<?xml")


def test_files_may_describe_gpu_and_model(directory: Path, tmp_path: Path) -> None:
    """Half the bandwidth takes about twice the time for a token."""
    simulated = []
    for bandwidth in (1.0, 0.5):
        gpu = tmp_path / f"gpu-{bandwidth}.yaml"
        gpu.write_text(f"name: card\nmemory_gib: 48\nbandwidth_tb_s: {bandwidth}\nbf16_tflops: 300\n")
        found = json.loads(run(directory, "--gpu", gpu, "--model", "llama-3.1-8b", "--json"))
        simulated.append(found["tpot_mean_s"]["simulated"])
    assert simulated[1] == pytest.approx(2 * simulated[0], rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "names no device_name: give --gpu"),
        (("--gpu", "rtx-4090"), "names no model: give --model"),
        ((*NAMED, "--plot", "a.gif"), "must end in"),
        (("--gpu", "gone.yaml", "--model", "llama-3.1-8b"), "gone.yaml cannot be read"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], complaint: str, directory: Path) -> None:
    """Each in one line that says what to give instead."""
    with pytest.raises(ConfigurationError, match=complaint):
        run(directory, *arguments)


def test_assumptions_go_beside_the_figures(directory: Path, tmp_path: Path) -> None:
    """With --json they are on standard error, a line each; a person finds them in the report."""
    gpu = tmp_path / "gpu.yaml"
    gpu.write_text("name: card\nmemory_gib: 48\nbandwidth_tb_s: 1.0\nbf16_tflops: 300\n")
    arguments = ["validate", str(directory), "--gpu", str(gpu), "--model", "llama-3.1-8b"]
    shown = CliRunner().invoke(app, [*arguments, "--json"])
    assert "ttft_mean_s" in json.loads(shown.stdout)
    assert "dualpool: kind of memory: GDDR assumed by its bandwidth\n" in shown.stderr
    assert "Kind of memory: GDDR assumed by its bandwidth." in CliRunner().invoke(app, arguments).stdout


def test_a_person_sees_bars(directory: Path) -> None:
    """Of running, waiting and KV, without a file."""
    shown = run(directory, *NAMED)
    for row in ("running simulated", "waiting simulated", "KV simulated"):
        assert row in shown


def test_calibration_may_also_show(directory: Path, tmp_path: Path) -> None:
    """With --json the figures of the refitted entry, its factors on standard error; with --plot a picture of it."""
    mine, picture = tmp_path / "mine.yaml", tmp_path / "p.svg"
    arguments = ["validate", str(directory), *NAMED, "--calibrate", str(mine), "--plot", str(picture), "--json"]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert json.loads(shown.stdout)["tpot_mean_s"]["error"] == pytest.approx(0, abs=0.2)
    assert "decode ×" in shown.stderr
    assert mine.exists()
    assert picture.exists()
