"""Writes docs/metrics.md: every metric of the service, from the table that declares them.

python tools/metrics.py            print it
python tools/metrics.py --write    replace docs/metrics.md
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from extproc.telemetry.names import INSTRUMENTS, Instrument, Kind, Label  # noqa: E402

TARGET = ROOT / "docs" / "metrics.md"
_HEAD = """\
# Metrics

Generated from `extproc/telemetry/names.py`: `python tools/metrics.py --write`.

`dualpool serve` answers Prometheus on `metrics_listen` at `/metrics`. With `otlp_endpoint` set it also sends the same
metrics to a collector every 15 s, by OTLP over HTTP; names then are OpenTelemetry's, with dots and without `_total`,
`_seconds` and `_per_second`. Both are cumulative since the process began. Each process tells of itself: sum over the
workers of a service.

- Labels come from enums or are bounded in number. Nothing here holds anything of what a user wrote, but for the name
  of a model that answered.
- A series that is absent says that there is nothing to say: no reading of a pool, no state file, nothing learned yet.
- `…_weighted_total`: only a share of the answers is read, more of those in doubt. Each one counts there for as many
  requests as it stands for; use these for shares of all requests, and the plain counts to see how much they rest on.
- A histogram has `…_bucket` with the label `le`, `…_sum` and `…_count`. `dualpool_estimate_error` has buckets below 0
  and so, as OpenMetrics wants it, neither sum nor count: its count is the bucket `+Inf`.
- `gen_ai.*` follows OpenTelemetry's conventions for generative AI, which are still in development.

| metric | type | labels | unit | meaning |
|---|---|---|---|---|
"""
_LABELS_HEAD = """
## Labels

| label | of | values |
|---|---|---|
"""
_LARGE = 1e3
"""From here on a bound is written in full."""


def main() -> int:
    """Print or write; the exit status."""
    if sys.argv[1:] == ["--write"]:
        TARGET.write_text(document())
    else:
        sys.stdout.write(document())
    return 0


def document() -> str:
    """The whole file."""
    rows = "\n".join(_row(instrument) for instrument in INSTRUMENTS)
    return "\n".join([f"{_HEAD}{rows}", _LABELS_HEAD + _labels(), "\n## Buckets\n", *_buckets(), ""])


def _row(instrument: Instrument) -> str:
    labels = ", ".join(f"`{_prometheus(label)}`" for label in instrument.labels)
    unit = instrument.unit.translate({ord("{"): None, ord("}"): None})
    meaning = instrument.meaning.rstrip(".").replace("|", r"\|")
    return f"| `{instrument.prometheus_name}` | {instrument.kind} | {labels} | {unit} | {meaning} |"


def _labels() -> str:
    """Each label once for every set of values that it has."""
    owners: dict[Label, list[str]] = {}
    for instrument in INSTRUMENTS:
        for label in instrument.labels:
            owners.setdefault(label, []).append(f"`{instrument.prometheus_name}`")
    return "\n".join(
        f"| `{_prometheus(label)}` | {', '.join(names)} | {_values(label)} |"
        for label, names in sorted(owners.items(), key=lambda item: item[0].name)
    )


def _values(label: Label) -> str:
    return ", ".join(f"`{value}`" for value in label.values) or label.bound.replace("*", r"`*`")


def _buckets() -> list[str]:
    histograms = [instrument for instrument in INSTRUMENTS if instrument.kind is Kind.HISTOGRAM]
    return [f"- `{each.prometheus_name}`: {', '.join(map(_number, each.bounds))}" for each in histograms]


def _number(bound: float) -> str:
    return f"{bound:g}" if bound < _LARGE else f"{bound:.0f}"


def _prometheus(label: Label) -> str:
    return label.name.replace(".", "_")


if __name__ == "__main__":
    sys.exit(main())
