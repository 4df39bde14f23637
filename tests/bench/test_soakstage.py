"""What a soak runs on is up, all of it, and its readings are the service's own."""

import asyncio
from pathlib import Path

import pytest

from extproc.bench.soakstage import is_error, soak_stage
from extproc.bench.traffic import KINDS, Traffic
from extproc.envoyconfig.binary import find_envoy


def test_a_log_line_is_an_error_unless_it_is_known_to_be_none() -> None:
    """What the interpreter itself writes when something breaks is no JSON, and counts."""
    lines = ['{"level": "warning"}', '{"level": "error"}', '{"level": "critical"}', "Traceback", "{}", "[]"]
    assert [is_error(line) for line in lines] == [False, True, True, True, True, True]


@pytest.mark.e2e
async def test_requests_of_every_kind_are_decided_and_answered(tmp_path: Path) -> None:
    """Both pools are read, every kind gets 200, and a sample says what the service holds and that nothing is wrong."""
    with soak_stage(find_envoy(), tmp_path) as running:
        traffic = Traffic(running.door)
        async with asyncio.TaskGroup() as group:
            group.create_task(traffic.run())
            while traffic.answered.keys() < set(KINDS) or running.totals()["dualpool_decisions_total"] < len(KINDS):
                await asyncio.sleep(0.05)
            traffic.over = True
        sample, totals = running.sample(1.0, traffic.answered.total()), running.totals()
    assert traffic.failed == 0
    assert (sample.internal_errors, sample.errors_logged) == (0, 0)
    assert sample.rss_bytes > 10**7
    assert totals["dualpool_pool_instances"] == 2
    assert totals["dualpool_pool_polls_total"] >= 2
