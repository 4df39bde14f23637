"""States for people: what one holds, and what several come to together; knows no file and no command.

What was learned are sufficient statistics, so the sum of two states is what one process would have learned from the
answers of both, but for what each had forgotten by then.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.estimators import ALL_MODELS
from extproc.routing.outputs import OutputModel, OutputRules
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.router import Router
from extproc.routing.state import VERSION, RouterState

_HALF_LIFE_SAMPLES = float("inf")
"""States come as they are: only who learns on forgets."""


class _Uncalled:
    """In place of a tokenizer: with one, an estimator keeps what others learned of theirs."""

    def count(self, texts: Sequence[str]) -> int | None:  # noqa: ARG002 - nothing is counted here
        """Nothing."""
        return None


def merged(states: Iterable[RouterState]) -> RouterState:
    """The sum of states. The same answers must not stand in two of them: they would count twice.

    Raises:
        StateError: the parts of one do not fit.
    """
    estimator = AnytimeEstimator(counter=_Uncalled())
    router = Router(estimator=estimator, policy=TokenBudgetPolicy(1), outputs=_outputs(OutputRules().miss_probability))
    for state in states:
        router.absorb(state)
    return router.snapshot()


def view(state: RouterState, *, promise: float) -> dict[str, list[dict[str, Any]]]:
    """What a state says, by model: fit for JSON.

    Args:
        state: any.
        promise: for which the learned outputs are told.
    """
    outputs = _outputs(promise)
    outputs.merge(state.outputs)
    return {
        "models": [
            {
                "model": served.model,
                "samples": served.samples,
                "doubt": round(served.doubt, 4),
                "alarms": served.alarms,
            }
            for served in state.estimator.served
            if served.samples
        ],
        "ratios": [
            {
                "model": ratio.model,
                "category": ratio.category.value,
                "bytes_per_token": round(ratio.bytes_per_token, 3),
                "samples": ratio.samples,
            }
            for ratio in state.estimator.ratios
        ],
        "outputs": [
            {
                "model": learned.model,
                "category": learned.category or ALL_MODELS,
                "output_tokens": learned.output_tokens,
                "samples": round(learned.samples),
            }
            for learned in outputs.learned()
        ],
    }


def as_text(seen: dict[str, list[dict[str, Any]]]) -> str:
    """The same as tables; a table of nothing says so."""
    return "\n\n".join(f"{name}\n{_table(rows)}" for name, rows in seen.items()) + "\n"


def as_json(state: RouterState, *, promise: float) -> dict[str, Any]:
    """The same for machines."""
    return {"version": VERSION, "promise": promise, **view(state, promise=promise)}


def _outputs(promise: float) -> OutputModel:
    return OutputModel(OutputRules(promise, _HALF_LIFE_SAMPLES))


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "  nothing learned"
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  " + "  ".join(_padded(line, widths, rows[0])).rstrip() for line in lines)


def _padded(line: list[str], widths: list[int], kinds: dict[str, Any]) -> list[str]:
    """Words to the left, numbers to the right."""
    return [
        cell.ljust(width) if isinstance(kind, str) else cell.rjust(width)
        for cell, width, kind in zip(line, widths, kinds.values(), strict=True)
    ]


def _cell(value: Any) -> str:
    """A model's name is what some client wrote: nothing in it may steer the terminal."""
    if value is None:
        return "not yet"
    if isinstance(value, str):
        return value if value.isprintable() and value else ascii(value)
    return str(value)
