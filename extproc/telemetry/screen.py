"""A status as plain text for a terminal; no string of a client's can steer it (`wording.name_of`)."""

from collections.abc import Sequence

from extproc.telemetry import wording
from extproc.telemetry.status import Status

_INDENT = "  "
_BAR_CHARS = 30
_DECISION_NUMBERS = (False, False, True, True)


def as_text(place: str, status: Status) -> str:
    """A screen of one service.

    Args:
        place: where it was asked.
        status: what it said; of the version of this program.
    """
    threshold, decisions = status["threshold"], status["decisions"]
    up = wording.duration(status["uptime_s"])
    parts = [
        f"dualpool {status['version']} at {place}: {status['mode']}, worker {status['worker']}, up {up}",
        f"threshold  {wording.count(threshold['tokens'])} tokens, {wording.threshold(status)}",
        *(_facts(f"{name} pool", wording.pool_rows(pool)) for name, pool in status["pools"].items()),
        f"decisions  {wording.count(decisions['total'])}\n{_decisions(decisions['by_reason'])}",
        _facts("answers", wording.answer_rows(status)),
        *(_table(name, status[name]) for name in ("models", "ratios", "outputs")),
        _facts("operating", wording.operating_rows(status)),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(title: str, rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(label) for label, _ in rows)
    return "\n".join([title, *(f"{_INDENT}{label:{width}}  {wording.line(value)}" for label, value in rows)])


def _decisions(rows: Sequence[Status]) -> str:
    """A line a reason, with a bar of its share."""
    if not rows:
        return f"{_INDENT}none yet"
    cells = [
        (row["pool"], wording.heading(row["reason"]), wording.count(row["requests"]), wording.share(row["share"]))
        for row in rows
    ]
    bars = ["█" * round(_BAR_CHARS * row["share"]) for row in rows]
    return "\n".join(
        f"{line}  {bar}".rstrip() for line, bar in zip(_aligned(cells, _DECISION_NUMBERS), bars, strict=True)
    )


def _table(title: str, rows: Sequence[Status]) -> str:
    if not rows:
        return f"{title}\n{_INDENT}nothing learned yet"
    cells = [tuple(map(wording.heading, rows[0])), *(tuple(map(wording.cell, row.values())) for row in rows)]
    return "\n".join([title, *_aligned(cells, [not isinstance(value, str) for value in rows[0].values()])])


def _aligned(rows: Sequence[tuple[str, ...]], are_numbers: Sequence[bool]) -> list[str]:
    """Words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _INDENT
        + "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, are_numbers, strict=True)
        ).rstrip()
        for row in rows
    ]
