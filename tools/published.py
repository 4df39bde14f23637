"""Prints every published table of dual-pool routing beside what its own assumptions give, as docs/results/published.md.

python tools/published.py > docs/results/published.md

The figures are those of `extproc.fleet.published`; nothing is simulated, so it takes a second.
"""

import math
import sys

from extproc.fleet.comparison import Row, Table, markdown, shown
from extproc.fleet.published import tables

HEAD = """# The published figures under their own assumptions

Printed by

    python tools/published.py > docs/results/published.md

What is published of dual-pool token-budget routing, figure by figure, beside what its own assumptions give: baseline
B0, in which an instance has as many slots as whole contexts fit into its KV cache, and a step takes what the published
planner says, t = W + H·n. None of this is a plan of ours (see [plans.md](plans.md)) or a measurement: it says which
published figures follow from what is published. The paper's figures are those of its abstract and of public summaries;
an oddity may be a summary's.

"Computed" is what the last column says: arithmetic on figures published beside this one, the published planner's model
with its published constants, or the public distribution of request lengths. A figure counts as reproduced if it prints
alike, or lies within what its rounding or its random draws allow.

In short: prices, sums and the planner's own fleets come out. The savings of the paper, 41.9 and 31.3 %, do not: they
rest on rates per instance that are one constant for both traces, and on a short fraction that the public traces do not
have. Latencies, preemptions and refusals cannot be computed from what is published, and by the iteration law that is
published the two pools have later first tokens and slower steps than one, not faster.
"""


def main() -> None:
    """Print the document."""
    found = tables()
    sys.stdout.write(HEAD + "\n" + summary(found) + "\n" + "\n".join(map(markdown, found)))
    sys.stdout.write("\n" + not_reproduced(found))


def summary(found: list[Table]) -> str:
    """How many figures of each table came out."""
    lines = ["| table | figures | reproduced |", "|---|---:|---:|"]
    lines += [f"| {table.title} | {len(table.rows)} | {sum(row.reproduced for row in table.rows)} |" for table in found]
    return "\n".join(lines) + "\n"


def not_reproduced(found: list[Table]) -> str:
    """Every published figure that did not come out, by name."""
    lines = ["## What cannot be reproduced", "", "Published / computed; the reasons are in the tables above.", ""]
    for table in found:
        missed = [row for row in table.rows if not row.reproduced and not math.isnan(row.published)]
        if missed:
            lines.append(f"* **{table.title}**: {'; '.join(f'{row.what} ({_against(row)})' for row in missed)}.")
    return "\n".join(lines) + "\n"


def _against(row: Row) -> str:
    """Both figures, in short."""
    return f"{shown(row.published)} / {shown(row.ours)}"


if __name__ == "__main__":
    main()
