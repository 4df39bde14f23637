import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.errors import ConfigurationError
from extproc.routing.exchange import Outcome, Undecided
from extproc.routing.refusal import Refusal
from extproc.routing.values import (
    Budget,
    Category,
    Correction,
    Decision,
    Misroute,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Stage,
    Usage,
)
from extproc.telemetry.accesslog import LINES_MAX, AccessLog
from extproc.telemetry.labels import LineOutcome
from extproc.telemetry.ledger import Ledger
from extproc.traces import Trace, read_trace
from extproc.traces.accesslog import AccessLine

SECRET = "what the user typed"
ARRIVED_NS = 1_767_225_600_125_000_000
DECISION = Decision(
    Pool.SHORT,
    Reason.FITS,
    Provenance.CALIBRATED,
    RequestFacts(text_bytes=4000, output_tokens=256, model="llama"),
    Budget(5000, 256, 1100, 1000),
    Stage.SIZE,
    doubt=0.002,
    threshold_tokens=8192,
)
OBSERVED = msgspec.structs.replace(DECISION, category=Category.PROSE, observe=True, weight=5.0, lesson=SECRET)
CORRECTION = Correction(
    pool=Pool.SHORT,
    category=Category.PROSE,
    provenance=Provenance.CALIBRATED,
    stage=Stage.SIZE,
    estimated_prompt_tokens=1000,
    usage=Usage(990, 30),
    learned=True,
    judged=True,
    misroute=Misroute.UNDER,
    weight=5.0,
    truncated=True,
)


def written(path: Path, *outcomes: Outcome) -> list[dict[str, Any]]:
    """The lines of a log of these."""
    with AccessLog(path, 2**20, Ledger()) as log:
        for outcome in outcomes:
            log.record(outcome, arrived_ns=ARRIVED_NS)
    return [json.loads(line) for line in path.read_text().splitlines()]


def until(holds: Callable[[], bool]) -> None:
    """Wait for the log's thread."""
    give_up_s = time.monotonic() + 20.0
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


def test_an_answer_that_was_read_has_its_lengths(tmp_path: Path) -> None:
    """Decision, estimate and usage stand in one line, under these names."""
    (line,) = written(tmp_path / "log", Outcome(OBSERVED, CORRECTION, None, None, 200, shadow=True))
    assert line == {
        "time": "2026-01-01T00:00:00.125000Z",
        "pool": "short",
        "reason": "fits",
        "provenance": "calibrated",
        "stage": "size",
        "threshold_tokens": 8192,
        "shadow": True,
        "budget_tokens": 1356,
        "max_tokens": 256,
        "sequences": 1,
        "model": "llama",
        "category": "prose",
        "doubt": 0.002,
        "weight": 5.0,
        "status": 200,
        "escalated": False,
        "truncated": True,
        "refusal": None,
        "judged": True,
        "misroute": "under",
        "estimated_prompt_tokens": 1000,
        "prompt_tokens": 990,
        "completion_tokens": 30,
    }


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    """An answer nobody read, a refusal, a stream without a decision; every line has every key."""
    lines = written(
        tmp_path / "log",
        Outcome(DECISION, None, None),
        Outcome(OBSERVED, None, None, None, 400, escalated=True, refusal=Refusal.CONTEXT_LENGTH),
        Outcome(None, None, None, Undecided.ENDED_EARLY),
    )
    unread, refused, undecided = lines
    assert (unread["weight"], unread["status"], unread["category"], unread["prompt_tokens"]) == (None,) * 4
    assert unread["estimated_prompt_tokens"] == 1000
    assert (refused["refusal"], refused["escalated"], refused["weight"]) == ("context_length", True, 5.0)
    assert (undecided["pool"], undecided["reason"]) == (None, "ended_early")
    assert {tuple(line) for line in lines} == {AccessLine.__struct_fields__}


def test_absurd_numbers_stay_readable(tmp_path: Path) -> None:
    """A client may declare any output: its line is one that planner and report take."""
    path = tmp_path / "log"
    facts = RequestFacts(output_tokens=10**30, model="llama")
    absurd = msgspec.structs.replace(DECISION, facts=facts, budget=Budget(10, 10**30, 10))
    (line, _) = written(path, Outcome(absurd, None, None), Outcome(OBSERVED, CORRECTION, None))
    assert (line["max_tokens"], line["budget_tokens"]) == (2**31 - 1, 2**31 - 1)
    trace = read_trace(path)
    assert isinstance(trace, Trace)
    assert trace.requests == 2


def test_nothing_a_user_typed_is_written(tmp_path: Path) -> None:
    """What a decision carries for learning stays out, whatever it is."""
    path = tmp_path / "log"
    written(path, Outcome(OBSERVED, CORRECTION, None))
    assert SECRET not in path.read_text()


def test_the_planner_reads_it_as_it_is(tmp_path: Path) -> None:
    """Both requests come; the one that was not read is as long as one that was."""
    path = tmp_path / "log"
    written(path, Outcome(OBSERVED, CORRECTION, None), Outcome(DECISION, None, None))
    trace = read_trace(path)
    assert isinstance(trace, Trace)
    assert trace.prompt_tokens.tolist() == [990, 990]


def test_lines_are_counted(tmp_path: Path) -> None:
    """Each once it is in the file."""
    ledger = Ledger()
    with AccessLog(tmp_path / "log", 2**20, ledger) as log:
        for _ in range(200):
            log.record(Outcome(DECISION, None, None), arrived_ns=ARRIVED_NS)
    assert ledger.access_log_lines == {LineOutcome.WRITTEN: 200, LineOutcome.DROPPED: 0}


def test_lines_appear_while_the_service_runs(tmp_path: Path) -> None:
    """Nobody has to stop it to look at its log."""
    path = tmp_path / "log"
    with AccessLog(path, 2**20, Ledger()) as log:
        log.record(Outcome(DECISION, None, None), arrived_ns=ARRIVED_NS)
        until(lambda: path.exists() and path.read_text().endswith("}\n"))


def test_a_full_disk_drops_lines_beyond_the_queue_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """Recording goes on without a wait; what is lost is counted, to the line."""
    ledger, more = Ledger(), 100
    with caplog.at_level(logging.WARNING), AccessLog(Path("/dev/full"), 2**20, ledger) as log:
        for _ in range(LINES_MAX + more):
            log.record(Outcome(DECISION, None, None), arrived_ns=ARRIVED_NS)
        assert ledger.access_log_lines[LineOutcome.DROPPED] == more
        until(lambda: "No space left" in caplog.text)
    assert ledger.access_log_lines == {LineOutcome.WRITTEN: 0, LineOutcome.DROPPED: LINES_MAX + more}
    assert caplog.text.count("No space left") == 1
    assert "32768 lines are lost at the end" in caplog.text


def test_lines_wait_for_a_folder_that_comes_late(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost meanwhile."""
    path, ledger = tmp_path / "late" / "log", Ledger()
    with caplog.at_level(logging.WARNING), AccessLog(path, 2**20, ledger) as log:
        log.record(Outcome(DECISION, None, None), arrived_ns=ARRIVED_NS)
        until(lambda: "No such file" in caplog.text)
        path.parent.mkdir()
    assert ledger.access_log_lines == {LineOutcome.WRITTEN: 1, LineOutcome.DROPPED: 0}


def test_a_pipe_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    """The end of the process waits for the thread so long and no longer, and counts what it leaves behind."""
    path, ledger = tmp_path / "pipe", Ledger()
    os.mkfifo(path)
    log = AccessLog(path, 2**20, ledger)
    log.record(Outcome(DECISION, None, None), arrived_ns=ARRIVED_NS)
    log.close(0.05)
    assert ledger.access_log_lines == {LineOutcome.WRITTEN: 0, LineOutcome.DROPPED: 1}
    os.close(os.open(path, os.O_RDONLY))  # lets the thread go


def test_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    """A mistake in the settings is no matter of the disk."""
    with pytest.raises(ConfigurationError, match="is a folder"):
        AccessLog(tmp_path, 2**20, Ledger())
