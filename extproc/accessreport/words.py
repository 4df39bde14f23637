"""What findings mean in plain words: a headline, sentences, and what to know before acting on them."""

from extproc.accessreport.findings import Findings, Promise
from extproc.accessreport.shares import Share
from extproc.fleet.answers import Interval, Plan
from extproc.fleet.report.shown import count, percent, plural, seconds, spread, tokens
from extproc.fleet.report.wording import VERDICTS

TAGS = {
    Promise.KEPT: "The promise is kept",
    Promise.BROKEN: "The promise is not kept",
    Promise.OPEN: "Too early to tell whether the promise is kept",
}
_NEARLY_ALL, _HARDLY_ANY = 0.98, 0.1
"""Shares of requests from which on two pools have nothing to part."""
_MUCH = 0.1
_UNTOLD = 0.05
"""Share of requests of which nothing is known that is worth a word."""


def share(found: Share | None, absent: str = "–") -> str:
    """`0.04 % (0.01 to 0.09 %)`."""
    return absent if found is None else spread(Interval(*found), percent)


def tag(found: Findings, plan: Plan | None) -> str:
    """The headline."""
    return TAGS[found.promised] + ("" if plan is None else f". {VERDICTS[plan.verdict]}")


def sentences(found: Findings, plan: Plan | None) -> list[str]:
    """The verdict: what routing did or would have done, whether that is safe, and whether two pools are worth it."""
    return [_did(found), _safe(found), plan.sentence if plan is not None else _worth(found)]


def _did(found: Findings) -> str:
    verb = "would have sent" if found.shadow_share == 1.0 else "sent"
    at = _thresholds(found)
    return f"Routing {verb} {percent(found.short_share)} of {plural(found.requests, 'request')} short{at}."


def _thresholds(found: Findings) -> str:
    if found.thresholds_tokens is None:
        return ""
    low, high = found.thresholds_tokens
    return f", at a threshold of {tokens(low)}" + ("" if low == high else f" to {tokens(high)}") + " tokens"


def _safe(found: Findings) -> str:
    under, promise = found.misroutes.under, percent(found.promise)
    if under is None:
        return "Of no request it is known which pool was right, so nothing can be said of the promise."
    went = "would have gone short and not fit" if found.shadow_share == 1.0 else "went short and do not fit"
    known = f"Of those of which it is known, {share(under)} {went}: "
    if found.promised is Promise.OPEN:
        judged, needed = found.misroutes.judged, found.judged_needed
        more = f"{count(needed)} or more" if judged < needed else f"more than these {count(judged)}"
        return f"{known}too few are known to tell whether the promise of {promise} is kept; it takes {more}."
    return known + ("within" if found.promised is Promise.KEPT else "more than") + f" the promise of {promise}."


def _worth(found: Findings) -> str:
    """Without the planner: only what is plain from the lengths alone."""
    ask = "how many GPUs that saves, or costs, the planner says: add --model and --gpu."
    if not found.thresholds:
        return f"No answer was read, so nothing is known of lengths; {ask}"
    least, most = found.thresholds[0], found.thresholds[-1]
    if least.fits.mean >= _NEARLY_ALL:
        return (
            f"Nearly all requests fit {tokens(least.threshold_tokens)} tokens: two pools do not help much, one pool"
            f" with a shorter context may; {ask}"
        )
    if most.of_all <= _HARDLY_ANY:
        return f"Hardly any request fits {tokens(most.threshold_tokens)} tokens: two pools do not help; {ask}"
    return f"{percent(least.of_all)} to {percent(most.of_all)} of requests could go short, by threshold; {ask}"


def notes(found: Findings) -> list[str]:
    """What to know before acting on the figures."""
    return [note for note in (rule(found) for rule in _RULES) if note]


def _malformed(found: Findings) -> str:
    if not found.malformed:
        return ""
    return (
        f"{plural(found.malformed, 'line')} could not be read and {'is' if found.malformed == 1 else 'are'} left out."
    )


def _mixed(found: Findings) -> str:
    if found.shadow_share in {0.0, 1.0}:
        return ""
    return (
        f"{percent(found.shadow_share)} of the decisions were made in shadow mode and not followed, the others were:"
        " truncations and escalations are those of the others."
    )


def _untold(found: Findings) -> str:
    if found.coverage.untold < _UNTOLD:
        return ""
    return (
        f"Nothing stands for {percent(found.coverage.untold)} of the requests whose length matters: streams whose"
        " clients ask for no usage, answers that failed or broke off, or more at a time than max_observed lets be read."
        " What is said of lengths holds for the others; if those differ, it is off. vLLM's"
        " --enable-force-include-usage, with streams_carry_usage, makes all streams tell."
    )


def _cold(found: Findings) -> str:
    cold = sum(part.share for part in found.provenances if part.labels == ("cold",))
    if cold < _MUCH:
        return ""
    return (
        f"{percent(cold)} of the decisions are cold: models were hardly known, margins wide, and more went long than"
        " will later. Leave a log's first hour out to see what remains."
    )


def _undeclared(found: Findings) -> str:
    undeclared = sum(part.share for part in found.reasons if part.labels == ("long", "output_undeclared"))
    if undeclared < _MUCH:
        return ""
    return (
        f"{percent(undeclared)} of the requests name no max_tokens and went long for it: with undeclared_output:"
        " learned that ends once enough of their answers were read; with a number at once."
    )


def _truncated(found: Findings) -> str:
    if found.truncated is None or not found.truncated.mean:
        return ""
    return f"The short pool cut {share(found.truncated)} of the answers at the end of its context: users saw that."


def _escalated(found: Findings) -> str:
    if found.escalated is None or not found.escalated.mean:
        return ""
    return (
        f"{share(found.escalated)} of the requests were answered by the long pool because the short one failed; users"
        " saw a good answer, later."
    )


def _brief(found: Findings) -> str:
    if found.span_s >= _DAY_S:
        return ""
    return (
        f"The log spans {seconds(found.span_s) if found.span_s < _HOUR_S else f'{found.span_s / _HOUR_S:.1f} h'}: it"
        " knows nothing of the other hours of the day and the week."
    )


_HOUR_S, _DAY_S = 3600.0, 86_400.0
_RULES = (_malformed, _mixed, _untold, _cold, _undeclared, _truncated, _escalated, _brief)
