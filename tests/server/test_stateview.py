"""States are shown as they are, and their sum is what one process would have learned."""

import pytest

from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.exact import Counter
from extproc.routing.outputs import OutputModel
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import read_request
from extproc.routing.router import Router
from extproc.routing.state import RouterState
from extproc.routing.values import Category, Finish, Stage, Usage
from extproc.server.stateview import as_json, as_text, merged, view

CHAT = b'{"model":"%s","messages":[{"role":"user","content":"%s"}],"max_tokens":9}'


def router(counter: Counter | None = None) -> Router:
    """A cold one that learns outputs too."""
    return Router(estimator=AnytimeEstimator(counter=counter), policy=TokenBudgetPolicy(1310), outputs=OutputModel())


def taught(answers: int, model: bytes = b"m", counter: Counter | None = None) -> Router:
    """One that has seen answers to prompts of 6,600 bytes and 1,300 tokens, near its threshold."""
    found = router(counter)
    for _ in range(answers):
        decision = found.route(read_request("/v1/chat/completions", CHAT % (model, b"some words " * 600)), draw=0.0)
        found.complete(decision, Usage(1300))
    return found


class Tokenizer:
    """Counts any text as so many tokens, and nothing where there is none."""

    def count(self, texts: object) -> int:
        """A little less than the template makes of it."""
        return 1270 if texts else 0


def test_states_add_up() -> None:
    """Samples of the same model add, models of either are there, and the sum estimates as its parts do."""
    total = merged([taught(40).snapshot(), taught(60).snapshot(), taught(5, b"other").snapshot()])
    assert {row["model"]: row["samples"] for row in view(total, promise=0.001)["models"]} == {"m": 100, "other": 5}
    again = router()
    again.absorb(total)
    request = read_request("/v1/chat/completions", CHAT % (b"m", b"some words " * 600))
    assert again.estimator.estimate(request, 1301).mean_tokens == pytest.approx(1300, rel=0.02)


def test_what_a_tokenizer_taught_is_kept() -> None:
    """Merging needs no tokenizer, and loses nothing of what those learned that had one."""
    states = [taught(260, counter=Tokenizer()).snapshot() for _ in range(2)]
    (one,), (both,) = (
        [served for served in state.estimator.served if served.samples] for state in (states[0], merged(states))
    )
    assert both.samples == 520
    assert both.errors[Stage.EXACT] != one.errors[Stage.EXACT]
    assert both.framing != one.framing


def test_nothing_comes_to_nothing() -> None:
    """A cold state is a state, and says that nothing was learned."""
    seen = view(merged([RouterState(), router().snapshot()]), promise=0.001)
    assert seen == {"models": [], "ratios": [], "outputs": []}
    assert as_text(seen).count("nothing learned") == 3


def test_outputs_are_told_for_the_promise_that_is_asked_for() -> None:
    """A hundred answers are enough to promise one in twenty, and not one in a thousand."""
    learned = OutputModel()
    for _ in range(100):
        learned.learn("m", Category.CODE, None, Usage(10, 200, finish=Finish.STOP))
    state = RouterState(outputs=learned.snapshot())
    easy, hard = (view(state, promise=promise)["outputs"] for promise in (0.05, 0.001))
    assert [(row["category"], row["samples"]) for row in easy] == [("*", 100), ("code", 100)]
    assert 200 <= easy[0]["output_tokens"] <= 212
    assert hard[0]["output_tokens"] is None


def test_the_text_is_a_table_that_no_model_s_name_can_break() -> None:
    """Columns line up, and a name with control codes shows them escaped."""
    text = as_text(view(taught(3, b"\\u001b[31mred").snapshot(), promise=0.001))
    assert "\x1b" not in text
    assert r"'\x1b[31mred'" in text
    head, row = text.splitlines()[1:3]
    assert head.split() == ["model", "samples", "doubt", "alarms"]
    assert len(head) == len(row)


def test_json_says_what_it_is() -> None:
    """Version and promise stand beside what was learned."""
    seen = as_json(taught(3).snapshot(), promise=0.01)
    assert (seen["version"], seen["promise"], seen["models"][0]["samples"]) == (2, 0.01, 3)
    assert seen["ratios"][0]["category"] == "prose"
