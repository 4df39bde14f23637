"""The names of the headers by which Envoy, the service and their users understand each other: spelt here alone.

All begin with `HEADER_PREFIX`. Envoy drops what a client sends under it, lets the service set these, chooses the
cluster by `POOL_HEADER` and copies all of them to the response.
"""

HEADER_PREFIX = "x-dualpool-"

POOL_HEADER = "x-dualpool-pool"
"""A `Pool`; set on every request that is decided."""

BUDGET_HEADER = "x-dualpool-budget"
"""The request's estimated budget in tokens."""

REASON_HEADER = "x-dualpool-reason"
"""A `Reason`."""

PROVENANCE_HEADER = "x-dualpool-provenance"
"""A `Provenance`."""

STAGE_HEADER = "x-dualpool-stage"
"""A `Stage`: the effort that settled it."""

DOUBT_HEADER = "x-dualpool-doubt"
"""How likely the other pool would have been right, between 0 and 1."""

CATEGORY_HEADER = "x-dualpool-category"
"""A `Category`; only where the answer is read, as it is not looked for otherwise."""

EXPLAIN_HEADERS = (BUDGET_HEADER, REASON_HEADER, PROVENANCE_HEADER, STAGE_HEADER, DOUBT_HEADER, CATEGORY_HEADER)
"""Set only where the operator asks for explanations."""

OWN_HEADERS = (POOL_HEADER, *EXPLAIN_HEADERS)
"""Every header the service may set."""

SERVED_HEADER = "x-dualpool-served"
"""A `Pool`: whose instance was asked last. Envoy sets it on responses; it differs from `POOL_HEADER` where the long
pool stood in for the short one, and where a decision was not followed."""
