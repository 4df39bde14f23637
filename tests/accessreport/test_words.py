from typing import Any

import pytest

from extproc.accessreport import words
from extproc.routing.values import Pool


def test_shadow_is_told_in_the_conditional(tell: Any, answered: Any) -> None:
    """What would have been, and what was."""
    lines = [answered(weight=1.0)] * 20_000
    did, safe, _ = words.sentences(tell(lines), None)
    assert did == "Routing would have sent 100 % of 20,000 requests short, at a threshold of 8,192 tokens."
    assert "would have gone short and not fit: within the promise of 0.1 %" in safe
    did, safe, _ = words.sentences(tell([answered(shadow=False, misroute="under")] * 50), None)
    assert did.startswith("Routing sent")
    assert "went short and do not fit: more than the promise" in safe


def test_too_little_is_said_to_be_too_little(tell: Any, answered: Any, unread: Any) -> None:
    """A clean sample of ten proves nothing; no sample less."""
    found = tell([answered()] * 10)
    assert words.tag(found, None) == "Too early to tell whether the promise is kept"
    assert "it takes 3,000 or more" in words.sentences(found, None)[1]
    near = tell([answered(misroute="under" if at < 4 else None) for at in range(4000)])
    assert "it takes more than these 4,000" in words.sentences(near, None)[1]
    assert "nothing can be said of the promise" in words.sentences(tell([unread()]), None)[1]


@pytest.mark.parametrize(
    ("prompt_tokens", "said"),
    [
        (100, "Nearly all requests fit 1,024 tokens: two pools do not help much"),
        (50_000, "Hardly any request fits 32,768 tokens: two pools do not help"),
    ],
)
def test_where_two_pools_do_not_help_it_says_so(tell: Any, answered: Any, prompt_tokens: int, said: str) -> None:
    """By the lengths alone, before any planner."""
    found = tell([answered(prompt_tokens=prompt_tokens, max_tokens=100)] * 10)
    assert words.sentences(found, None)[2].startswith(said)


def test_how_to_ask_the_planner(tell: Any, answered: Any) -> None:
    """Whatever else is said."""
    mixed = [answered()] * 5 + [answered(prompt_tokens=9000)] * 5
    assert words.sentences(tell(mixed), None)[2] == (
        "0 % to 100 % of requests could go short, by threshold; how many GPUs that saves, or costs, the planner says:"
        " add --model and --gpu."
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"provenance": "cold"}, "decisions are cold"),
        ({"pool": Pool.LONG, "reason": "output_undeclared"}, "name no max_tokens"),
        ({"shadow": False, "truncated": True}, "users saw that"),
        ({"shadow": False, "escalated": True}, "because the short one failed"),
        ({"weight": 1.0, "prompt_tokens": None}, "Nothing stands for"),
    ],
)
def test_what_to_know_is_noted_where_it_is_so(tell: Any, answered: Any, fields: dict[str, Any], said: str) -> None:
    """And nowhere else."""
    assert not any(said in note for note in words.notes(tell([answered(shadow=fields.get("shadow", True))] * 20)))
    assert any(said in note for note in words.notes(tell([answered(**fields)] * 20)))


def test_left_out_lines_and_mixed_modes_are_noted(tell: Any, answered: Any) -> None:
    """And how little a short log knows."""
    notes = words.notes(tell([None, answered(), answered(shadow=False)]))
    assert notes[0] == "1 line could not be read and is left out."
    assert notes[1].startswith("50.0 % of the decisions were made in shadow mode")
    assert notes[-1].startswith("The log spans 1 s")
