"""What a reader of the figures has to know of the requests behind them, and what to do about it; computes no figure."""

from collections.abc import Iterator

from extproc.evaluate.evaluation import EstimatorReport, Evaluation
from extproc.evaluate.figures import UNDECLARED
from extproc.evaluate.options import EvaluateOptions

_NOTABLE = 0.001
"""Of the requests: what is rarer changes no figure that is shown."""
_HARDLY = 0.01
"""Of the answers. Even what is learned and certain is read twice as often, and every answer to begin with."""


def caveats(evaluation: Evaluation, options: EvaluateOptions) -> list[str]:
    """A sentence or two each, for people."""
    reports = list(evaluation.estimators.values())
    found = [*_left_out(evaluation, options)]
    if reports:
        found += [*_not_judged(evaluation, reports[0], options), *_hardly_read(reports, options)]
    return found


def _left_out(evaluation: Evaluation, options: EvaluateOptions) -> Iterator[str]:
    if evaluation.left_out:
        count, reasons = sum(evaluation.left_out.values()), _listed(evaluation.left_out)
        rows = "row" if count == 1 else "rows"
        yield f"{count} {rows} of {options.requests} left out: {reasons}."


def _not_judged(evaluation: Evaluation, report: EstimatorReport, options: EvaluateOptions) -> Iterator[str]:
    """Every estimator gets the same requests, so one speaks for all."""
    shares = report.figures.not_judged
    undeclared, flawed = shares[UNDECLARED], sum(shares.values()) - shares[UNDECLARED]
    if not report.figures.shares.count:
        yield "No request could be judged: there are no shares of misroutes."
    if undeclared >= _NOTABLE and options.output_mix is None:
        yield (
            f"{undeclared:.1%} of the requests are not judged, since their bodies limit no output: declare some with"
            " --max-tokens-mix, for example --max-tokens-mix 256:.5,1024:.5."
        )
    if flawed >= _NOTABLE:
        yield (
            f"{flawed:.1%} of the requests are not judged, since their length cannot be told from their bodies; the"
            f" service sends such requests long. Rows: {_listed(evaluation.flawed_rows)}."
        )


def _hardly_read(reports: list[EstimatorReport], options: EvaluateOptions) -> Iterator[str]:
    share = max(report.figures.observed_share for report in reports)
    if share < _HARDLY and options.observe_share is None and not options.streams_carry_usage:
        yield (
            f"Only {share:.1%} of the answers were read, so hardly anything was learned. Chats that stream without"
            " stream_options.include_usage get no usage to read; where your servers send it anyway"
            " (--enable-force-include-usage), give --streams-carry-usage."
        )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())
