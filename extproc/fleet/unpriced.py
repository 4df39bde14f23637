"""A plan for GPUs of which not all have a price: they are counted in place of money, and no sum of it is left."""

import math
from dataclasses import replace

from extproc.fleet.answers import FleetPlan, Interval, Plan, Saving, SweepRow

_NONE = Interval(math.nan, math.nan, math.nan)
NOTE = (
    "Not every GPU here has a price, so GPUs are counted instead of dollars, each alike: what costs least is what takes"
    " the fewest. Give prices (--price GPU=USD) where kinds of GPU are weighed against each other."
)


def without_money(plan: Plan) -> Plan:
    """The same with every sum of money unknown; its shares are of GPUs already, each of which counted alike."""
    return replace(
        plan,
        fleets=tuple(map(_fleet, plan.fleets)),
        savings=tuple(map(_saving, plan.savings)),
        sweep=tuple(map(_row, plan.sweep)),
        notes=(NOTE, *plan.notes),
    )


def _fleet(fleet: FleetPlan) -> FleetPlan:
    pools = tuple(replace(pool, usd_per_hour=math.nan) for pool in fleet.pools)
    return replace(fleet, pools=pools, usd_range=None)


def _saving(saving: Saving) -> Saving:
    return replace(saving, usd_per_year=_NONE)


def _row(row: SweepRow) -> SweepRow:
    return replace(row, usd_per_hour=math.nan, confirmed_usd=None)
