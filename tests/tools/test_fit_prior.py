import importlib.util
import json
import lzma
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from extproc.routing import prior
from extproc.routing.features import NAMES
from extproc.routing.kernels import Array

SCRIPT = Path(__file__).parents[2] / "tools" / "fit_prior.py"
MEASURED = Path(__file__).parents[3] / "shared/data/requests/requests-dev.jsonl.xz"
"""Chat bodies with their true prompt tokens. They lie beside the repository, not in it."""
TERMS = len(prior.WEIGHTS)
FITTED = [name not in {"hebrew", "emoji", "control"} for name in NAMES] + [True] * 4
"""Weights that are fitted, not set."""


@pytest.fixture
def script(tmp_path: Path) -> ModuleType:
    """The script as a module, which would write elsewhere."""
    spec = importlib.util.spec_from_file_location("fit_prior", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    setattr(module, "TARGET", tmp_path / "prior.py")  # noqa: B010 - mypy knows no attribute of it
    return module


@pytest.fixture
def arguments() -> Iterator[list[str]]:
    """Of the command line; what stood there comes back."""
    kept, sys.argv = sys.argv, ["fit_prior.py"]
    yield sys.argv
    sys.argv = kept


def line(text: str, llama3_tokens: int, qwen3_tokens: int, **fields: object) -> str:
    """One recorded body."""
    body = json.dumps({"messages": [{"role": "user", "content": text}], **fields})
    return json.dumps({"body": body, "llama3_tokens": llama3_tokens, "qwen3_tokens": qwen3_tokens}) + "\n"


def texts(count: int) -> list[str]:
    """Of many lengths, in words, digits and marks of many proportions."""
    rng = np.random.default_rng(1)
    parts = ("word ", "12345 ", "Name ", "(x);\n", '"key": ', "中文字", "é à ")
    return ["".join(rng.choice(parts, rng.integers(20, 400), p=rng.dirichlet(np.ones(7)))) for _ in range(count)]


def world(seed: int, count: int) -> tuple[Array, Array]:
    """Counts of prompts, in none of them what is not fitted, and true weights."""
    rng = np.random.default_rng(seed)
    counts = rng.dirichlet(np.full(TERMS, 0.4), count) * rng.uniform(500, 50_000, (count, 1))
    counts[:, np.logical_not(FITTED)] = 0.0
    return counts, rng.uniform(0.1, 1.5, TERMS)


# Reading


@pytest.mark.parametrize("name", ["requests.jsonl", "requests.jsonl.xz"])
def test_every_body_is_counted_once_for_each_vocabulary(script: ModuleType, tmp_path: Path, name: str) -> None:
    """Compressed or not: features times bytes, then what frames the prompt; worked by hand."""
    tool = {"type": "function", "function": {"name": "f"}}
    lines = line("abc 12", 30, 40) + line("", 7, 8, tools=[tool])
    path = tmp_path / name
    path.write_bytes(lzma.compress(lines.encode()) if name.endswith("xz") else lines.encode())
    counts, truths = script.read(path)
    assert counts.shape == (4, TERMS)
    assert truths.tolist() == [30.0, 40.0, 7.0, 8.0]
    assert (counts[0] == counts[1]).all()
    named = dict(zip((*NAMES, *script.FRAMING_NAMES), counts[0].round(6).tolist(), strict=True))
    assert {key: count for key, count in named.items() if count} == {
        name: {"lower": 3, "digit": 2}.get(name, 1)
        for name in ("lower", "space", "digit", "word", "number", "prompt", "message")
    }
    compact = json.dumps([tool], separators=(",", ":"))
    assert counts[2][-4:].tolist() == [len(compact), 1, 1, 1]
    assert counts[2][: len(NAMES)].sum() > len(compact)


# Fitting


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_weights_are_recovered_from_what_they_make(script: ModuleType, seed: int) -> None:
    """From 2,000 prompts without noise to within a hundredth; those of bytes nearly unseen are set, not fitted."""
    counts, weights = world(seed, 2000)
    fitted = script.fit(counts, counts @ weights)
    assert fitted[FITTED] == pytest.approx(weights[FITTED], rel=0.01)
    named = dict(zip(NAMES, fitted.tolist(), strict=False))
    assert {name: named[name] for name in script.UNSEEN} == script.UNSEEN


@pytest.mark.parametrize("factor", [0.1, 5.0])
def test_odd_bodies_tilt_the_fit_by_little(script: ModuleType, factor: float) -> None:
    """A twentieth with a tenth or five times the tokens moves the others by half a percent, least squares by 4 %."""
    counts, weights = world(4, 2000)
    clean = counts @ weights
    truths = clean.copy()
    truths[::20] *= factor
    fitted = script.fit(counts, truths)
    plain = np.linalg.lstsq(counts / clean[:, None], truths / clean, rcond=None)[0]
    error, of_plain = (
        float(np.median(np.abs(counts @ found / clean - 1.0)[np.arange(2000) % 20 > 0])) for found in (fitted, plain)
    )
    assert error < 0.005
    assert of_plain > 10 * error


def test_a_count_no_body_has_gets_no_weight(script: ModuleType) -> None:
    """Nothing is divided by nothing, and the other weights are found."""
    counts, weights = world(5, 1000)
    counts[:, 0] = 0.0
    fitted = script.fit(counts, counts @ weights)
    assert fitted[0] == pytest.approx(0.0)
    assert fitted[FITTED][1:] == pytest.approx(weights[FITTED][1:], rel=0.01)


# Writing


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    """A few dozen bodies, a token for every three bytes, and one for every four."""
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(line(text, len(text.encode()) // 3, len(text.encode()) // 4) for text in texts(60)))
    return path


def test_the_module_is_printed_unless_it_is_to_be_written(
    script: ModuleType, arguments: list[str], requests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both give the same text, which says how many bodies it was fitted to, and writing prints nothing."""
    arguments.append(str(requests))
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    script.main()
    assert capsys.readouterr().out == printed
    assert not script.TARGET.exists()
    arguments.append("--write")
    script.main()
    assert capsys.readouterr().out == ""
    assert script.TARGET.read_text() + "\n" == printed
    assert "on 60 chat bodies" in printed


def test_the_written_module_holds_the_weights(script: ModuleType, requests: Path) -> None:
    """As Python reads it: one for every term, to four places, each with its name beside it."""
    counts, truths = script.read(requests)
    weights = script.fit(counts, truths)
    text = script.module(weights, np.abs(np.log(truths / (counts @ weights))))
    found: dict[str, object] = {}
    exec(compile(text, "prior.py", "exec"), found)
    assert found["WEIGHTS"] == pytest.approx(weights.tolist(), abs=5e-5)
    assert found["SCALE_MIN"] == prior.SCALE_MIN
    assert re.findall(r"# (.+)", text) == [*NAMES, *script.FRAMING_NAMES]


def test_the_errors_it_states_are_those_of_the_fit(script: ModuleType) -> None:
    """Percent of |log error|: the median and the 95th percentile, worked by hand, of two rows a body."""
    text = script.module(np.zeros(TERMS), np.linspace(0.0, 1.0, 201))
    assert re.search(r"on 100 chat bodies", text)
    assert re.search(r"50\.0 % at the median and 95\.0 % at the 95th percentile", text)


def test_the_committed_module_is_one_the_script_writes(script: ModuleType) -> None:
    """But for its numbers it is the template, name by name, and what is set is as the script sets it."""
    committed = Path(str(prior.__file__)).read_text()
    text = script.module(np.array(prior.WEIGHTS), np.ones(2))
    number = r"-?\d+(\.\d+)?(?= chat| %|,)"
    assert re.sub(number, "N", committed) == re.sub(number, "N", text)
    named = dict(zip(NAMES, prior.WEIGHTS, strict=False))
    assert named | script.UNSEEN == named


def test_the_committed_weights_are_those_of_the_recorded_requests(script: ModuleType) -> None:
    """What the command prints is what is committed, where the recorded requests are at hand."""
    if not MEASURED.is_file():
        pytest.skip("the measured requests (../shared/data/requests) are not on this machine")
    counts, truths = script.read(MEASURED)
    assert script.fit(counts, truths) == pytest.approx(np.array(prior.WEIGHTS), abs=2e-4)
