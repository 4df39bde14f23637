import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extproc.cli import app
from extproc.errors import ConfigurationError


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    """Prose of 4 bytes a token and digits of 2, on both sides of 2,000 tokens."""
    path = tmp_path / "requests.jsonl"
    with path.open("w") as lines:
        for tokens in range(600, 3600, 100):
            for kind, text, size in (("prose", "some words ", 4), ("digits", "314159 26535 ", 2)):
                content = (text * tokens)[: tokens * size]
                body = json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 100})
                row = {"body": body, "category": kind, "llama3_tokens": tokens, "qwen3_tokens": tokens + 50}
                lines.write(json.dumps(row) + "\n")
    return path


def run(*arguments: str | Path) -> str:
    """The command's output."""
    shown = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def few(requests: Path) -> list[str | Path]:
    """Flags of a short evaluation."""
    return [
        "--requests",
        requests,
        "--estimators",
        "fixed,ema",
        "--threshold",
        "2000",
        "--count",
        "300",
        "--seeds",
        "1",
    ]


def test_help_teaches() -> None:
    """The help says what is judged and what a file looks like."""
    shown = " ".join(run("--help").split())
    assert "sent short and does not fit" in shown
    assert "`llama3_tokens`" in shown
    assert "with 130 if it was interrupted" in shown


def test_every_flag_reaches_its_place(requests_file: Path, tmp_path: Path) -> None:
    """What was asked stands in the JSON as it was asked."""
    trace, picture = tmp_path / "trace.json", tmp_path / "p.svg"
    trace.write_text("[[500, 0.0], [3000, 1.0]]")
    flags = (
        "--tokenizer qwen3 --max-tokens-mix 50:.5,100:.5 --escaped-share .3 --promise .01 --swap-tokenizer-at .5"
        " --poison .1 --poison-kind hostile --observe-share .5 --no-memory --ema-margin 1 --ema-decay .95"
        " --hold-out .25 --streams-carry-usage --jobs 1 --json"
    )
    found = json.loads(run(*few(requests_file), *flags.split(), "--trace", trace, "--plot", picture))
    asked = found["arguments"]
    wanted = {
        "tokenizer": "qwen3",
        "threshold_tokens": 2000,
        "escaped_share": 0.3,
        "promise": 0.01,
        "swap_tokenizer_at": 0.5,
        "answers": {"poisoned_share": 0.1, "poison": "hostile"},
        "observe_share": 0.5,
        "streams_carry_usage": True,
        "memory": False,
        "held_back": None,
        "held_out_share": 0.25,
        "jobs": 1,
        "count": 300,
        "seeds": 1,
        "trace": str(trace),
        "estimators": ["fixed", "ema"],
    }
    assert {name: asked[name] for name in wanted} == wanted
    assert (asked["ema"]["margin_deviations"], asked["ema"]["decay"]) == (1.0, 0.95)
    assert asked["output_mix"]["values"] == [50, 100]
    assert found["swap"]["ema"]["requests_during"] > 0
    assert picture.read_text().startswith("<?xml")


def test_notes_leave_the_json_alone(requests_file: Path) -> None:
    """They go to standard error, and stand in it under a key of their own."""
    with requests_file.open("a") as lines:
        lines.write('{"body": "{}", "llama3_tokens": null}\n')
    shown = CliRunner().invoke(app, ["evaluate", *map(str, few(requests_file)), "--json", "--jobs", "1"])
    assert len(json.loads(shown.stdout)["warnings"]) == 1
    assert "1 row of" in " ".join(shown.stderr.split())


def test_two_processes_come_to_the_same(requests_file: Path) -> None:
    """But for the time it took."""
    found = [json.loads(run(*few(requests_file), "--json", "--jobs", jobs)) for jobs in ("1", "2")]
    assert found[0]["estimators"]["ema"]["over_time"] == found[1]["estimators"]["ema"]["over_time"]


def test_a_person_gets_tables(requests_file: Path) -> None:
    """Each estimator has its line."""
    shown = run(*few(requests_file), "--hold-back", "digits", "--jobs", "1")
    assert "60 rows; 1 × 300 requests" in shown
    assert "│ ema (γ = 2)" in shown
    assert "That category's own requests" in shown


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "nothing to evaluate: give --requests FILE"),
        (["--requests", "gone.jsonl"], "gone.jsonl cannot be read"),
        (["--requests", "x", "--estimators", "best"], "there are fixed"),
        (["--requests", "x", "--max-tokens-mix", "half"], "expected TOKENS:SHARE"),
        (["--requests", "x", "--max-tokens-mix", ""], "expected TOKENS:SHARE"),
        (["--requests", "x", "--promise", "0"], "above 0"),
        (["--requests", "x", "--plot", "a.gif"], "must end in"),
    ],
)
def test_mistakes_are_named(arguments: list[str], complaint: str) -> None:
    """Each in one line that says what to give instead."""
    with pytest.raises(ConfigurationError, match=complaint):
        run(*arguments)


def test_a_missing_package_is_named_with_its_extra(requests_file: Path) -> None:
    """Without matplotlib a picture cannot be drawn, and the message says what to install."""
    program = "import sys; sys.modules['matplotlib'] = None; from extproc.cli import main; main()"
    command = [sys.executable, "-c", program, "evaluate", "--requests", str(requests_file), "--plot", "a.png"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "pip install 'dualpool[evaluate]'" in ended.stderr
