import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from extproc.cli import app
from extproc.errors import ConfigurationError

SMALL = (
    "--model", "llama-3-8b", "--tensor-parallel-size", "1", "--rate", "20", "--requests", "400", "--seeds", "1",
    "--jobs", "1",
)  # fmt: skip
TWO = ("--short", "3", "--long", "3", "--threshold", "2048")


def run(*arguments: str | Path) -> str:
    """The command's output."""
    shown = CliRunner().invoke(app, ["simulate", *map(str, arguments)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def simulated(*arguments: str | Path) -> dict[str, Any]:
    """Its JSON."""
    found: dict[str, Any] = json.loads(run(*SMALL, *arguments, "--json"))
    return found


def test_help_teaches() -> None:
    """What the router knows, and that nothing is lost."""
    assert "Every request ends in one outcome" in " ".join(run("--help").split())


def test_the_router_parts_two_pools() -> None:
    """Each request is in one of them, and the stages of its decisions are told."""
    found = simulated(*TWO)
    assert [pool["pool"] for pool in found["pools"]] == ["short", "long"]
    assert found["pools"][0]["instance"]["max_model_len"] == 2048
    assert sum(found["confirmed"]["stages"].values()) == pytest.approx(1.0)
    counts = [int(note.split(":")[1].split()[0]) for note in found["notes"][:2]]
    assert sum(counts) == 320


def test_a_small_short_pool_is_relieved_and_says_so() -> None:
    """The course of the threshold and of the spilling, in the JSON and in a note."""
    flags = ("--spillover", "--adaptive-threshold", "--short-max-model-len", "4096", "--short-max-num-seqs", "4")
    found = simulated("--short", "1", "--long", "3", "--threshold", "2048", "--requests", "2000", *flags)
    course = found["course"]
    assert len(course["time_s"]) == len(course["threshold_tokens"]) > 10
    assert max(course["spilled_from_short"]) > 0.0
    assert min(course["threshold_tokens"]) < 2048
    assert found["pools"][0]["instance"]["max_model_len"] == 4096
    assert any(note.startswith("Steered: threshold from") for note in found["notes"])


def test_without_steering_there_is_no_course() -> None:
    """Nor a note of one."""
    found = simulated(*TWO)
    assert found["course"] is None
    assert not any(note.startswith("Steered") for note in found["notes"])


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--spillover", "--router", "oracle"), "steer the service's router"),
        (("--adaptive-threshold", "--router", "random"), "steer the service's router"),
        (("--short-max-model-len", "1024"), "must hold --threshold 2048"),
    ],
)
def test_what_cannot_be_steered_is_refused(flags: tuple[str, ...], complaint: str) -> None:
    """Before anything is simulated."""
    with pytest.raises(ConfigurationError, match=complaint):
        run(*SMALL, *TWO, *flags)


def test_the_truth_misroutes_nothing_and_chance_does() -> None:
    """Under and over by who routes."""
    oracle, chance = (simulated(*TWO, "--router", router)["confirmed"] for router in ("oracle", "random"))
    assert oracle["under"]["mean"] == oracle["over"]["mean"] == 0.0
    assert chance["over"]["mean"] > 0.05


def test_flags_reach_the_instances() -> None:
    """Flags of vLLM, the short pool's own, and what Envoy and fate do."""
    found = simulated(
        *TWO, "--router", "oracle", "--max-num-seqs", "64", "--short-max-num-seqs", "96", "--watermark", "0.02",
        "--max-num-queued-reqs", "50", "--overflow", "reject", "--balancing", "round_robin", "--deaths-per-hour", "2",
        "--short-gpu", "h100-80gb",
    )  # fmt: skip
    short, long = found["pools"]
    assert (short["instance"]["max_num_seqs"], long["instance"]["max_num_seqs"]) == (96, 64)
    assert (short["instance"]["name"], long["instance"]["name"]) == ("1x h100-80gb", "1x a100-80gb")
    assert long["instance"]["overflow"] == "reject"
    assert long["balancing"] == "round_robin"
    assert (long["instance"]["watermark"], long["instance"]["max_queued_requests"]) == (0.02, 50)
    assert long["instance"]["deaths_per_hour"] == 2.0


def test_long_prompts_may_be_allowed_more_time() -> None:
    """As a plan allows it: the objective has it, and more requests keep that; without the flag there is none."""
    plain, lenient = (simulated(*TWO, "--ttft", "50", "--ttft-per-token", value) for value in ("0", "1"))
    assert (plain["slo"]["ttft_s_per_token"], lenient["slo"]["ttft_s_per_token"]) == (0.0, 0.001)
    kept = [found["confirmed"]["fleet"]["slo_share"]["mean"] for found in (plain, lenient)]
    assert kept[0] < kept[1]


def test_time_may_be_given_in_place_of_requests() -> None:
    """As many requests as come in it."""
    arguments = [each for each in SMALL if each not in {"--requests", "400"}]
    found = json.loads(run(*arguments, "--instances", "4", "--duration", "10", "--json"))
    assert "200 requests" in found["facts"]["Runs"]


def test_a_person_gets_tables_and_a_page(tmp_path: Path) -> None:
    """With what became of every request."""
    page = tmp_path / "run.html"
    shown = run(*SMALL, *TWO, "--report", page)
    assert "How the router decided" in shown
    assert "completed" in shown
    assert "<html" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give --short and --long, or --instances"),
        (("--short", "1"), "give --short and --long, or --instances"),
        (("--instances", "1", "--short", "1"), "--instances is for one pool"),
        (("--instances", "1", "--router", "anytime"), "contradict each other"),
        ((*TWO, "--router", "single"), "contradict each other"),
        (("--short", "1", "--long", "1", "--threshold", "65536"), "must be below the long pool's"),
        (("--instances", "1", "--enable-prefix-caching"), "name their hash_ids"),
        (("--instances", "1", "--duration", "5"), "give one of them"),
        (("--instances", "1", "--watermark", "1.5"), "--watermark 1.5 must be"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], complaint: str) -> None:
    """Each in one line that says what to give instead."""
    with pytest.raises(ConfigurationError, match=complaint):
        run(*SMALL, *arguments)
