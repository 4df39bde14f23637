"""Requests have the size they claim, and medians are taken for each side and size."""

import json

import pytest

from extproc.bench.measure import BODY_SIZES, FULL, QUICK, Plan, Run, medians, request_of
from extproc.routing.request import read_request


@pytest.mark.parametrize("body_bytes", BODY_SIZES)
def test_a_request_has_exactly_its_size(body_bytes: int) -> None:
    """The body is a chat of that many bytes which the router can read."""
    body = request_of(body_bytes).partition(b"\r\n\r\n")[2]
    assert len(body) == body_bytes
    assert json.loads(body)["max_tokens"] == 64
    assert read_request("/v1/chat/completions", body).facts.flaw is None


@pytest.mark.parametrize("plan", [FULL, QUICK])
def test_larger_bodies_are_sent_less_often(plan: Plan) -> None:
    """A run is bounded in bytes and in requests, and never too few to take a percentile of."""
    counts = [plan.requests(body_bytes) for body_bytes in BODY_SIZES]
    assert counts == sorted(counts, reverse=True)
    assert 50 <= counts[-1] <= counts[0] <= plan.max_requests_per_run


def test_medians_are_taken_by_side_and_size() -> None:
    """Three runs of one side become one; failures add up."""
    runs = [Run("a", 1024, rate, 1.0, 2.0, 3.0, cpu, 1) for rate, cpu in ((10, 5), (30, 7), (20, 6))]
    runs.append(Run("b", 1024, 1.0, 1.0, 1.0, 1.0, 1.0, 0))
    found = medians(runs)
    assert [(run.side, run.requests_per_s, run.processor_cpu_us, run.failed) for run in found] == [
        ("a", 20, 6, 3),
        ("b", 1.0, 1.0, 0),
    ]
