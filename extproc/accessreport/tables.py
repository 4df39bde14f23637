"""Findings as tables, text in cells, for a page and a terminal alike."""

from extproc.accessreport.findings import Findings, Misroutes, Part
from extproc.accessreport.words import share
from extproc.fleet.report.shown import ABSENT, change, count, percent, tokens
from extproc.fleet.report.tables import Column, Row, Table, table

ROWS_MAX = 30
"""Of models and reasons that are shown; --json has all."""


def overview(found: Findings) -> Table:
    """What was seen, and of how much of it the length is known."""
    coverage = found.coverage
    rows = (
        ("Requests", count(found.requests)),
        ("From", found.first or ABSENT),
        ("To", found.last or ABSENT),
        ("Requests per second", ABSENT if found.rate_per_s is None else f"{found.rate_per_s:,.3g}"),
        ("Decided, not followed (shadow)", percent(found.shadow_share)),
        ("Streams without a decision", count(sum(part.requests for part in found.undecided))),
        ("Answers to be read", count(coverage.asked)),
        ("Of those, with usage", count(coverage.read)),
        ("Requests that these stand for", count(round(coverage.stands_for))),
        ("Go long at any threshold, unread", count(coverage.lengthless)),
        ("Of the others, nothing stands for", percent(coverage.untold)),
        ("Cut by the short pool's context", share(found.truncated)),
        ("Answered by the long pool after all", share(found.escalated)),
        *((f"Refused by the short pool: {part.labels[0]}", count(part.requests)) for part in found.refusals),
    )
    shown = tuple(Row(row) for row in rows if row[1] != ABSENT)
    return Table((Column("Figure", numeric=False), Column("Value")), shown)


def reasons(found: Findings) -> Table:
    """Where requests went, and why."""
    columns = (Column("Pool", numeric=False), Column("Reason", numeric=False), Column("Requests"), Column("Share"))
    return Table(columns, tuple(Row((*part.labels, *_counted(part))) for part in found.reasons[:ROWS_MAX]))


def stages(found: Findings) -> Table:
    """By what effort that was settled."""
    columns = (Column("Settled by", numeric=False), Column("Requests"), Column("Share"))
    return Table(columns, tuple(Row((*part.labels, *_counted(part))) for part in found.stages))


def _counted(part: Part) -> tuple[str, str]:
    return count(part.requests), percent(part.share)


def misroutes(found: Findings) -> Table:
    """Decisions beside the truth, for all models and for each."""
    columns = (
        Column("Model", numeric=False),
        Column("Requests"),
        Column("Short"),
        Column("Read", "answers with usage"),
        Column("Judged", "right or wrong is known"),
        Column("Stand for", "requests"),
        Column("Under", "short, does not fit"),
        Column("Over", "long, would fit"),
        Column("Error P50", "of estimates"),
    )
    everything = ("all", count(found.requests), percent(found.short_share), count(found.coverage.read))
    rows = [Row((*everything, *_misrouted(found.misroutes), ABSENT), "chosen")]
    for model in found.models[:ROWS_MAX]:
        head = (model.model or "(none named)", count(model.requests), percent(model.short_share), count(model.read))
        error = ABSENT if model.error_p50 is None else percent(model.error_p50)
        rows.append(Row((*head, *_misrouted(model.misroutes), error)))
    return table(columns, rows)


def _misrouted(found: Misroutes) -> tuple[str, ...]:
    return count(found.judged), count(round(found.stands_for)), share(found.under), share(found.over)


def errors(found: Findings) -> Table:
    """How far estimates were from the truth, before their margin."""
    columns = (
        Column("Kind of text", numeric=False),
        Column("Answers"),
        Column("Error P50"),
        Column("Error P95"),
        Column("Bias", "mean, with its sign"),
    )
    rows = (
        Row((row.category or "(unknown)", count(row.count), percent(row.p50), percent(row.p95), change(row.bias)))
        for row in found.errors
    )
    return Table(columns, tuple(rows))


def thresholds(found: Findings) -> Table:
    """What each threshold would make of this traffic."""
    columns = (
        Column("Threshold", "tokens"),
        Column("Fits", "of those whose length is known"),
        Column("Of all requests", "at most"),
        Column("Of all tokens"),
        Column("", numeric=False),
    )
    rows = (
        Row(
            (
                tokens(row.threshold_tokens), share(row.fits), percent(row.of_all), percent(row.tokens),
                "decided this log" if row.decided else "",
            ),
            "chosen" if row.decided else "",
        )
        for row in found.thresholds
    )  # fmt: skip
    return table(columns, rows)
