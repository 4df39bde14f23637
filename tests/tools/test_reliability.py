import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from extproc.routing.values import Pool

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reliability() -> Iterator[ModuleType]:
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location("reliability", ROOT / "tools" / "reliability.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reliability"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["reliability"]


def row(site: str, fleet: str, deaths: float) -> dict[str, Any]:
    """One run, as the tool writes it."""
    figures = {"preemptions_per_mille": 1.25, "failed_per_mille": 3.5 * deaths, "lost_share": 0.0}
    times = {"ttft_p50_s": 0.2, "ttft_p99_s": 1.5, "slo_share": 0.99, "kv_share": 0.02}
    return {"site": site, "fleet": fleet, "deaths": deaths, "seed": 0, **figures, **times}


def test_every_fleet_of_a_site_has_as_many_gpus(reliability: ModuleType) -> None:
    """One pool or two: what is compared costs the same."""
    for site in reliability.SITES:
        gpus = [sum(pool.gpus for pool in site.pools(fleet, 0.0)) for fleet in reliability.FLEETS]
        assert len(set(gpus)) == 1
        short, long = site.pools(reliability.SPLIT, 2.0)
        assert (short.pool, long.pool) == (Pool.SHORT, Pool.LONG)
        assert short.instance.max_model_len == site.threshold_tokens
        assert short.instance.deaths_per_hour == long.instance.deaths_per_hour == 2.0


def test_the_document_puts_published_figures_first(reliability: ModuleType) -> None:
    """Then every site with every fleet, then what deaths cost."""
    sites = [row(site.name, fleet, 0.0) for site in reliability.SITES for fleet in reliability.FLEETS]
    deaths = [row(reliability.AZURE.name, fleet, reliability.DEATHS_PER_HOUR) for fleet in reliability.FLEETS]
    text = reliability.document(sites + deaths)
    assert text.index("5.4 times fewer") < text.index("## Azure")
    assert text.count("| B1 vLLM defaults |") == len(reliability.SITES) + 1
    assert text.count("| 1.2 ‰ |") == len(reliability.SITES) * len(reliability.FLEETS)
    assert text.count("| 7.0 ‰ |") == len(reliability.FLEETS)
    assert "nan" not in text


def test_a_run_can_be_tabled(reliability: ModuleType) -> None:
    """Simulated for real, with one pool and with the router, through JSON and back."""
    trials = [replace(trial, requests=300) for trial in reliability.planned(1) if trial.site is reliability.AZURE]
    rows = json.loads(json.dumps(reliability.run(trials, 1)))
    assert [each["fleet"] for each in rows] == [*reliability.FLEETS, *reliability.FLEETS]
    assert all(0.0 < each["ttft_p50_s"] < each["ttft_p99_s"] < 30.0 for each in rows)
    assert max(trial.effort for trial in trials) > 1.0
