from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from extproc.errors import ConfigurationError
from extproc.evaluate.figures import Figures
from extproc.evaluate.mix import parse_mix
from extproc.evaluate.options import Contender, EvaluateOptions
from extproc.evaluate.runs import Material, StreamOutcome, StreamRun
from extproc.routing.estimators import EmaRules

Asked = Callable[..., EvaluateOptions]


def outcome(options: EvaluateOptions, contender: Contender = Contender.FIXED, seed: int = 0) -> StreamOutcome:
    """What one run came to."""
    return StreamRun(contender, seed, EmaRules()).perform(Material.load(options))


def without_times(figures: Figures) -> object:
    """All that does not depend on the machine."""
    return msgspec.structs.replace(figures, cost=None, cost_by_stage=None)


def test_a_run_judges_what_can_be_worked_out(asked: Asked) -> None:
    """Prose at 4 bytes a token is routed without a fault; of digits at 2 those between 1,900 and 3,800 go short."""
    found = outcome(asked(count=3000)).figures
    assert found.by_category["prose"].misrouted == 0.0
    assert found.by_category["digits"].under == pytest.approx(8 / 15, abs=0.05)
    assert (found.by_category["digits"].over, found.by_category["digits"].p50) == (0.0, 0.5)


def test_a_seed_is_a_run(asked: Asked) -> None:
    """Made again it comes to the same; another seed comes to something else."""
    options = asked()
    assert without_times(outcome(options).figures) == without_times(outcome(options).figures)
    assert outcome(options).figures.shares != outcome(options, seed=1).figures.shares


def test_every_estimator_gets_the_same_stream(asked: Asked) -> None:
    """So that they are told apart by what they decide alone."""
    fixed, ema = (outcome(asked(), contender) for contender in (Contender.FIXED, Contender.EMA))
    assert fixed.log_density == ema.log_density > 0
    assert [found.count for found in fixed.figures.by_category.values()] == [
        found.count for found in ema.figures.by_category.values()
    ]


def test_options_reach_the_stream(asked: Asked, tmp_path: Path) -> None:
    """A trace of long prompts and an output beyond the threshold leave nothing that fits."""
    trace = tmp_path / "trace.json"
    trace.write_text("[[3000, 0.0], [3500, 1.0]]")
    found = outcome(asked(trace=trace)).figures
    assert found.shares.over == 0.0
    assert {name for name, shares in found.by_category.items() if shares.under} == {"digits"}
    assert outcome(asked(output_mix=parse_mix("2000:1"))).figures.settled_by["bounds"] == 1.0


def test_every_answer_can_be_read_or_none(asked: Asked) -> None:
    """The share observed is the one asked for, since the fixed estimator needs none."""
    assert outcome(asked(observe_share=1.0)).figures.observed_share == 1.0
    assert outcome(asked(observe_share=0.0)).figures.observed_share == 0.0


def test_streams_without_usage_are_read_where_servers_send_it(asked: Asked, requests_file: Path) -> None:
    """Otherwise nothing can be learned of them."""
    lines = requests_file.read_text().replace('\\"max_tokens\\"', '\\"stream\\": true, \\"max_tokens\\"')
    requests_file.write_text(lines)
    assert outcome(asked(observe_share=1.0)).figures.observed_share == 0.0
    assert outcome(asked(observe_share=1.0, streams_carry_usage=True)).figures.observed_share == 1.0


def test_rows_are_held_out_by_the_share_and_the_seed(asked: Asked) -> None:
    """About as many requests as rows, of which none is observed; others with another seed."""
    options = asked(count=3000, held_out_share=0.4, observe_share=1.0)
    first, second = (outcome(options, seed=seed).figures for seed in (0, 1))
    assert first.held_out.count / 3000 == pytest.approx(0.4, abs=0.04)
    assert first.observed_share == pytest.approx(1.0 - first.held_out.count / 3000)
    assert first.held_out.under != second.held_out.under


def test_the_margin_is_named_where_there_is_one(asked: Asked) -> None:
    """γ belongs to the published estimator."""
    assert outcome(asked(), Contender.EMA).margin_deviations == 2.0
    assert outcome(asked(), Contender.FIXED).margin_deviations is None


def test_after_a_swap_a_fixed_ratio_stays_wrong(asked: Asked) -> None:
    """With a third more tokens prose is under-routed as well, and the run never comes back."""
    found = outcome(asked(count=2000, swap_tokenizer_at=0.5, observe_share=0.2))
    swap = found.changes["swap"]
    assert list(found.changes) == ["swap"]
    assert swap.requests_during + swap.requests_after == 1000
    assert (swap.under_during or 0.0) > (outcome(asked(count=2000)).figures.shares.under or 0.0)
    assert swap.observed_until_within_promise is None


def test_a_category_held_back_is_reported_by_itself_too(asked: Asked) -> None:
    """Before it there is nothing to under-route; after, its own share is twice that of all."""
    found = outcome(asked(count=2000, held_back="digits"))
    assert list(found.changes) == ["held_back", "held_back_itself"]
    of_all, itself = found.changes["held_back"], found.changes["held_back_itself"]
    assert of_all.requests_during + of_all.requests_after == 1000
    assert itself.under_during == pytest.approx(8 / 15, abs=0.1)
    assert {moment.under for moment in found.figures.over_time[:10]} == {0.0}


def test_a_tokenizer_file_turns_exact_counts_on(asked: Asked, tmp_path: Path) -> None:
    """With a vocabulary of bytes, what features leave in doubt is counted; without a file nothing is."""
    tokenizers = pytest.importorskip("tokenizers", reason="the exact extra is not installed")
    path = tmp_path / "tokenizer.json"
    letters = {chr(code): code for code in range(256)}
    tokenizers.Tokenizer(tokenizers.models.BPE(letters, [])).save(str(path))
    shares = [
        outcome(asked(tokenizer_json=file), Contender.ANYTIME).figures.settled_by["exact"] for file in (path, None)
    ]
    assert shares[0] > 0.0 == shares[1]


def test_a_tokenizer_file_that_is_none_is_refused_first(asked: Asked, tmp_path: Path) -> None:
    """Before anything is run."""
    with pytest.raises(ConfigurationError, match="tokenizer file"):
        Material.load(asked(tokenizer_json=tmp_path / "gone.json"))


def test_rows_that_repeat_are_not_conversations(asked: Asked) -> None:
    """Nothing is remembered unless it is asked for."""
    assert outcome(asked(), Contender.ANYTIME).figures.settled_by["memory"] == 0.0


@pytest.mark.parametrize("held_back", ["verse", "prose"])
def test_what_cannot_be_held_back_is_refused(held_back: str, requests_file: Path, asked: Asked) -> None:
    """An unknown category, and the only one."""
    if held_back == "prose":
        requests_file.write_text(requests_file.read_text().splitlines()[0])
    with pytest.raises(ConfigurationError, match="expected one of several categories"):
        Material.load(asked(held_back=held_back))


def test_a_swap_needs_both_counts(requests_file: Path, asked: Asked) -> None:
    """A file counted by one tokenizer alone is refused before anything is run."""
    requests_file.write_text('{"body": "{}", "llama3_tokens": 5}')
    Material.load(asked())
    with pytest.raises(ConfigurationError, match=r"1 without qwen3_tokens.*--swap-tokenizer-at needs both"):
        Material.load(asked(swap_tokenizer_at=0.5))
