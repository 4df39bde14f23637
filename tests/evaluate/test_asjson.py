import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extproc.evaluate.asjson import as_json
from extproc.evaluate.evaluation import evaluate
from extproc.evaluate.mix import parse_mix
from extproc.evaluate.options import EvaluateOptions

Asked = Callable[..., EvaluateOptions]


@pytest.fixture
def document(asked: Asked, sessions_file: Path) -> dict[str, Any]:
    """What is printed of a short evaluation with a swap and with sessions."""
    options = asked(swap_tokenizer_at=0.5, sessions=sessions_file, output_mix=parse_mix("50:.5,100:.5"))
    parsed: dict[str, Any] = json.loads(as_json(evaluate(options, lambda: None), options))
    return parsed


def test_every_part_has_its_name(document: dict[str, Any]) -> None:
    """What scripts look for is there, for each estimator."""
    assert set(document["estimators"]) == {"fixed", "ema"}
    for found in document["estimators"].values():
        assert set(found["range"]["under"]) == {"min", "max"}
        assert {"misrouted", "under", "over", "settled_by", "promised_under", "observed_share", "judged"} <= set(found)
        assert {"p50", "p95", "p99", "bias"} <= set(found["error"])
        assert found["error"]["by_stage"]["sample"]["p50"] == found["error"]["p50"]
        assert {"p50", "p99", "by_stage"} <= set(found["cost_us"])
        assert set(found["by_category"]["digits"]) == {"count", "misrouted", "under", "over", "p50"}
        assert {"count", "misrouted", "under", "over", "error"} == set(found["first_sight"]) == set(found["held_out"])


def test_figures_belong_to_their_names(document: dict[str, Any]) -> None:
    """Parts of one whole add up, under and over are not swapped, first sights are no more than the rows."""
    fixed = document["estimators"]["fixed"]
    assert fixed["misrouted"] == pytest.approx(fixed["under"] + fixed["over"])
    assert fixed["under"] > fixed["over"]
    assert sum(fixed["settled_by"].values()) == pytest.approx(1.0)
    assert fixed["judged"] == sum(category["count"] for category in fixed["by_category"].values()) == 200
    assert 0 < fixed["first_sight"]["count"] <= 30
    assert fixed["cost_us"]["p99"] >= fixed["cost_us"]["p50"] > 0


def test_changes_and_sessions_are_by_estimator(document: dict[str, Any]) -> None:
    """What did not happen is null."""
    assert set(document["swap"]) == {"fixed", "ema"}
    assert {"observed_until_within_promise", "under_during", "under_after"} <= set(document["swap"]["fixed"])
    assert document["held_back"] is None
    assert document["sessions"]["fixed"]["extending"]["count"] == 1


def test_what_could_not_be_judged_is_null(asked: Asked, requests_file: Path) -> None:
    """Also its range; what was left out, and why, stands beside it."""
    lines = requests_file.read_text().replace("max_tokens", "least_tokens")
    requests_file.write_text(lines + '\n{"body": "{}"}\n{"body": "{", "llama3_tokens": 3}\n')
    options = asked()
    found = json.loads(as_json(evaluate(options, lambda: None), options))
    fixed = found["estimators"]["fixed"]
    assert (fixed["judged"], fixed["under"], fixed["range"]["over"], fixed["held_out"]["under"]) == (
        0,
        None,
        None,
        None,
    )
    assert fixed["not_judged"]["output_undeclared"] == pytest.approx(1 - fixed["not_judged"]["unreadable"])
    assert (found["left_out"], found["flawed_rows"]) == ({"without llama3_tokens": 1}, {"unreadable": 1})
    assert any("--max-tokens-mix" in warning for warning in found["warnings"])


def test_what_was_asked_stands_beside_it(document: dict[str, Any]) -> None:
    """Every argument, so that a figure can be had again."""
    arguments = document["arguments"]
    assert arguments["requests"].endswith("requests.jsonl")
    assert (arguments["count"], arguments["seeds"], arguments["swap_tokenizer_at"]) == (200, 2, 0.5)
    assert arguments["output_mix"]["values"] == [50, 100]
    assert arguments["ema"]["margin_deviations"] == 2.0
