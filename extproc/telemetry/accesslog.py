"""Writes one line of JSON for each request; knows files and threads, and of a request only numbers and labels.

Nothing here may harm traffic. The event loop makes a small struct and puts it in a bounded queue. A thread of its own,
which a hung disk may hold for ever, encodes and writes: a few lines at a time, since encoding holds the interpreter and
writing lets it go. What cannot be written waits; what does not fit into the queue is dropped and counted.
"""

import logging
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from extproc.errors import ConfigurationError
from extproc.routing.exchange import Outcome
from extproc.routing.values import Correction, Decision
from extproc.telemetry.labels import LineOutcome
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.logfile import LogFile
from extproc.telemetry.modelnames import ModelNames
from extproc.traces.accesslog import COUNT_MAX, WEIGHT_MAX, AccessLine, encode

LINES_MAX = 32_768
"""In the queue, about 20 MB: several seconds of the highest rate that one process serves."""
_FLUSH_S = 1.0
_CLOSE_S = 2.0
"""How long the end of the process waits for the last lines."""
_BATCH = 64
"""Lines encoded at a time, in about 0.1 ms; the event loop waits no longer than that for the interpreter."""
_NS = 1e9
_log = logging.getLogger(__name__)


class AccessLog:
    """The log of one process. `record` belongs to the event loop, everything else to a thread of its own."""

    def __init__(self, path: Path, max_bytes: int, ledger: Ledger) -> None:
        """Begin to write what is recorded; the file need not exist.

        Args:
            path: of the file, or of a device or pipe, which is never renamed.
            max_bytes: size that a file does not exceed; it is then renamed to FILE.1.
            ledger: where lines are counted.

        Raises:
            ConfigurationError: it is a folder.
        """
        if path.is_dir():
            raise ConfigurationError(f"access_log {path} is a folder: name a file in it")
        self._file = LogFile(path, max_bytes)
        self._path = path
        self._ledger = ledger
        self._names = ModelNames()
        self._lines: deque[AccessLine] = deque()
        self._dropped = 0
        self._told: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def record(self, outcome: Outcome, *, arrived_ns: int) -> None:
        """Take in what an exchange came to; about 2 µs, and never a wait.

        Args:
            outcome: of the exchange.
            arrived_ns: when its request arrived, in ns since 1970 (`time.time_ns`).
        """
        if len(self._lines) >= LINES_MAX:
            self._dropped += 1
            self._ledger.access_log_lines[LineOutcome.DROPPED] += 1
            return
        self._lines.append(line_of(outcome, arrived_ns, self._names))

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Write what is left, for so long at most; the rest is dropped. Nothing may be recorded afterwards."""
        self._over.set()
        self._thread.join(timeout_s)
        if self._lines:
            self._ledger.access_log_lines[LineOutcome.DROPPED] += len(self._lines)
            _log.warning("access log %s: %d lines are lost at the end of the process", self._path, len(self._lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._over.wait(_FLUSH_S):
            self._flush()
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        try:
            self._file.follow()
            while self._lines and self._write():
                pass
        except OSError as error:
            self._tell(error.strerror or type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a bug of ours ends neither the thread nor the traffic
            self._tell(type(error).__name__)
        if self._dropped:
            self._tell("it is written more slowly than requests come")

    def _write(self) -> bool:
        """The oldest lines; they leave the queue once they are in the file. Returns whether any did."""
        taken = [self._lines[at] for at in range(min(_BATCH, len(self._lines)))]
        written = self._file.append([encode(line) + b"\n" for line in taken])
        for _ in range(written):
            self._lines.popleft()
        self._ledger.access_log_lines[LineOutcome.WRITTEN] += written
        return written > 0

    def _tell(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            _log.warning("access log %s: %s. Lines are dropped while this lasts; it is not said again", self._path, why)


def line_of(outcome: Outcome, arrived_ns: int, names: ModelNames) -> AccessLine:
    """What is logged of an exchange."""
    decision, correction = outcome.decision, outcome.correction
    arrived = datetime.fromtimestamp(arrived_ns / _NS, UTC)
    if decision is None:
        reason = None if outcome.undecided is None else outcome.undecided.value
        return AccessLine(arrived, reason=reason, shadow=outcome.shadow)
    facts, budget, usage = decision.facts, decision.budget, None if correction is None else correction.usage
    return AccessLine(
        time=arrived,
        pool=decision.pool,
        reason=decision.reason,
        provenance=decision.provenance,
        stage=decision.stage,
        threshold_tokens=decision.threshold_tokens,
        shadow=outcome.shadow,
        budget_tokens=None if budget is None else _count(budget.total_tokens),
        max_tokens=_count(facts.output_tokens),
        sequences=facts.n * facts.prompt_count,
        model=names.known(facts.model, answered=usage is not None),
        category=decision.category,
        doubt=decision.doubt,
        weight=min(decision.weight, WEIGHT_MAX) if decision.observe else None,
        status=outcome.status or None,
        escalated=outcome.escalated,
        truncated=correction is not None and correction.truncated,
        refusal=outcome.refusal,
        judged=correction is not None and correction.judged,
        misroute=None if correction is None else correction.misroute,
        estimated_prompt_tokens=_count(_estimated(decision, correction)),
        prompt_tokens=None if usage is None else _count(usage.prompt_tokens),
        completion_tokens=None if usage is None else _count(usage.completion_tokens),
    )


def _count(tokens: int | None) -> int | None:
    """A client may declare any number; one beyond what logs hold is written as the most they do."""
    return None if tokens is None else min(tokens, COUNT_MAX)


def _estimated(decision: Decision, correction: Correction | None) -> int | None:
    """Of all prompts where it was compared with a usage, which answers for all."""
    if correction is not None:
        return correction.estimated_prompt_tokens
    return None if decision.budget is None else decision.budget.mean_prompt_tokens
