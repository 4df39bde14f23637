"""An evaluation as JSON: names its parts for scripts, computes nothing."""

from dataclasses import asdict
from typing import Any

import msgspec

from extproc.evaluate.caveats import caveats
from extproc.evaluate.evaluation import EstimatorReport, Evaluation
from extproc.evaluate.figures import Cost, Errors
from extproc.evaluate.options import EvaluateOptions


def as_json(evaluation: Evaluation, options: EvaluateOptions) -> str:
    """One object, indented: `estimators`, `swap`, `held_back`, `sessions`, and what was asked under `arguments`.

    Beside `rows`, those of use, stand `left_out`, by what is wrong with a row, and `flawed_rows`, which are drawn and
    not judged; `warnings` are sentences for people. A share of no requests is null.
    """
    document = {
        "estimators": {name: _estimator(report) for name, report in evaluation.estimators.items()},
        "swap": evaluation.changes.get("swap"),
        "held_back": evaluation.changes.get("held_back"),
        "held_back_itself": evaluation.changes.get("held_back_itself"),
        "sessions": evaluation.sessions or None,
        "rows": evaluation.rows,
        "left_out": evaluation.left_out,
        "flawed_rows": evaluation.flawed_rows,
        "warnings": caveats(evaluation, options),
        "log_density": evaluation.log_density,
        "arguments": _arguments(options),
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def _estimator(report: EstimatorReport) -> dict[str, Any]:
    found = report.figures
    return {
        "judged": found.shares.count,
        "misrouted": found.shares.misrouted,
        "under": found.shares.under,
        "over": found.shares.over,
        "not_judged": found.not_judged,
        "range": {name: span and span._asdict() for name, span in report.range.items()},
        "promised_under": report.promised_under,
        "margin_deviations": report.margin_deviations,
        "settled_by": found.settled_by,
        "error": _error(found.error) | {"by_stage": found.error_by_stage},
        "cost_us": _cost(found.cost) | {"by_stage": {name: _cost(cost) for name, cost in found.cost_by_stage.items()}},
        "by_category": found.by_category,
        "first_sight": msgspec.structs.asdict(found.first_sight) | {"error": _error(found.first_sight_error)},
        "held_out": msgspec.structs.asdict(found.held_out) | {"error": _error(found.held_out_error)},
        "observed_share": found.observed_share,
        "over_time": found.over_time,
    }


def _error(error: Errors) -> dict[str, Any]:
    return msgspec.structs.asdict(error)


def _cost(cost: Cost) -> dict[str, Any]:
    return msgspec.structs.asdict(cost)


def _arguments(options: EvaluateOptions) -> dict[str, Any]:
    """As asked; paths as text."""
    arguments: dict[str, Any] = msgspec.to_builtins(asdict(options), enc_hook=str)
    return arguments
