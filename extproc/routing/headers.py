"""The names of the headers by which Envoy, the service and their users understand each other: spelt here alone.

All begin with `HEADER_PREFIX`. Envoy drops what a client sends under it, lets the service set these five, chooses the
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

CATEGORY_HEADER = "x-dualpool-category"
"""A `Category`."""

EXPLAIN_HEADERS = (BUDGET_HEADER, REASON_HEADER, PROVENANCE_HEADER, CATEGORY_HEADER)
"""Set only where the operator asks for explanations."""

OWN_HEADERS = (POOL_HEADER, *EXPLAIN_HEADERS)
"""Every header the service may set."""
