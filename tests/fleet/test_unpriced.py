from dataclasses import replace

from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.jobs import Jobs
from extproc.fleet.options import PlanOptions, completed
from extproc.fleet.planner import Planner
from extproc.fleet.report.asjson import as_json
from extproc.fleet.unpriced import NOTE
from extproc.fleet.workload import Options, synthetic

CATALOG = builtin()
FREE = CATALOG.gpu("a100-80gb").model_copy(update={"usd_per_hour": 0.0})
OPTIONS = PlanOptions(
    synthetic(Options(rate_per_s=40.0), prompt_deviation=0.5), CATALOG.model("llama-3-8b"), (FREE,), 8192,
    tensor_parallel=(1, 2), thresholds=(2048,), requests=100,
)  # fmt: skip


def test_gpus_are_counted_where_prices_are_missing() -> None:
    """The fleet that takes the fewest is the cheapest; no sum of money is in the plan, and a note says why."""
    planner = Planner(OPTIONS, Jobs(None), confirm=False)
    for _ in planner.steps():
        pass
    plan = planner.plan
    assert plan is not None
    assert (plan.ask.priced, plan.notes[0]) == (False, NOTE)
    assert plan.recommended is not None
    assert plan.fleets[plan.recommended].gpus == min(fleet.gpus for fleet in plan.fleets)
    assert '"usd_per_year": null' in as_json(plan)
    assert "of the cost" not in plan.sentence
    assert plan.savings[0].share.mean >= 0.0


def test_one_missing_price_makes_all_count_alike() -> None:
    """Half a sum of money is none; where all are known nothing changes."""
    mixed = completed(replace(OPTIONS, gpus=(CATALOG.gpu("a100-80gb"), FREE.model_copy(update={"name": "free"}))))
    assert (mixed.priced, {gpu.usd_per_hour for gpu in mixed.gpus}) == (False, {1.0})
    assert completed(replace(OPTIONS, gpus=(CATALOG.gpu("a100-80gb"),))).priced
