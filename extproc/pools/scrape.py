"""Finds the few lines of vLLM's `/metrics` that are wanted, whatever its version; judges no value.

A page has 30 to 200 KB, and six to ten lines of it matter (more with several engines). So the page is never held: each
piece is searched as it comes (0.2 ms for 200 KB), and prometheus_client parses what was found (20 µs a line), where the
whole page would take it 50 ms.

| wanted | vLLM's name |
|---|---|
| running | num_requests_running |
| waiting | num_requests_waiting, and of V0 num_requests_swapped: both wait for KV blocks |
| KV usage | kv_cache_usage_perc since 0.9; gpu_cache_usage_perc until 0.10 |
| preemptions | num_preemptions_total |
| rejections | admission_rejections_total since 0.32, by reason |
| tokens | prompt_tokens_total, generation_tokens_total |

An instance with several engines (data parallelism) shows one line for each: counts are summed, KV usage is averaged.
Labels differ by version, so none is looked at. Every name begins with `vllm:`, or `vllm_` where the server escapes it.
"""

import re

from prometheus_client.parser import text_string_to_metric_families

from extproc.pools.ask import AskError, PollOutcome
from extproc.pools.pace import Pace
from extproc.routing.readings import Reading

ACCEPT = "text/plain;version=0.0.4"
PATH = "/metrics"
LINE_MAX_BYTES = 4096
"""vLLM's lines have a few hundred bytes."""
LINES_MAX = 1024
"""Enough for a hundred engines."""
_LINES_A_TURN = 32
"""Parsed in one go: about 0.6 ms. A thread would not help, as it would hold the interpreter for as long."""
_RUNNING = "num_requests_running"
_WAITING = "num_requests_waiting"
_SWAPPED = "num_requests_swapped"
_KV_USAGE = ("kv_cache_usage_perc", "gpu_cache_usage_perc")
_PREEMPTIONS = "num_preemptions_total"
_REJECTIONS = "admission_rejections_total"
_TOKENS = ("prompt_tokens_total", "generation_tokens_total")
_NAMES = (_RUNNING, _WAITING, _SWAPPED, *_KV_USAGE, _PREEMPTIONS, _REJECTIONS, *_TOKENS)
_WANTED = re.compile(rb"\nvllm[:_]((?:" + "|".join(_NAMES).encode() + rb")[ \t{][^\n]*)(?=\n)")


class Sifter:
    """Takes a page in pieces and keeps the wanted lines. A last line without its end is none: it may be cut."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        """Found so far, without the beginning that all names share."""
        self._rest = b"\n"  # the beginning of a line, its predecessor's end before it; or empty within an endless one

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            AskError: more lines are wanted than can be meant.
        """
        text = self._rest + piece
        self.lines += [line.decode("utf-8", "replace") for line in _WANTED.findall(text)]
        if len(self.lines) > LINES_MAX:
            raise AskError(PollOutcome.MALFORMED)
        last = text.rfind(b"\n")
        self._rest = text[last:] if last >= 0 and len(text) - last <= LINE_MAX_BYTES else b""


async def reading_of(lines: list[str], at_s: float, pace: Pace) -> Reading:
    """What the lines say.

    Args:
        lines: of a page, those that are wanted.
        at_s: when it was read.
        pace: of the work.

    Raises:
        AskError: a line is not in Prometheus's form.
    """
    values: dict[str, list[float]] = {name: [] for name in _NAMES}
    for start in range(0, len(lines), _LINES_A_TURN):
        await pace.turn()
        _parse(lines[start : start + _LINES_A_TURN], values)
    usages = next((values[name] for name in _KV_USAGE if values[name]), [])
    waiting = _sum(values[_WAITING])
    return Reading(
        at_s=at_s,
        running=_sum(values[_RUNNING]),
        waiting=None if waiting is None else waiting + sum(values[_SWAPPED]),
        kv_usage=sum(usages) / len(usages) if usages else None,
        preemptions_total=_sum(values[_PREEMPTIONS]),
        rejections_total=_sum(values[_REJECTIONS]),
        tokens_total=_sum([value for name in _TOKENS for value in values[name]]),
    )


def _parse(lines: list[str], values: dict[str, list[float]]) -> None:
    text = "\n".join([*lines, ""])
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values[sample.name].append(sample.value)
    except (ValueError, LookupError) as error:
        raise AskError(PollOutcome.MALFORMED) from error


def _sum(numbers: list[float]) -> float | None:
    """None of nothing: a metric that is not shown is not 0."""
    return sum(numbers) if numbers else None
