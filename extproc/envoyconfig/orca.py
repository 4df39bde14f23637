"""Load reports that instances send with their answers (ORCA): asked for of vLLM, kept from clients.

vLLM reports KV use and queue with chat and completion answers that are not streamed, and logs a line for each.
"""

from typing import Final

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption, HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation as HeaderMutationFilter
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import Mutations
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any

REPORT_HEADER: Final = "endpoint-load-metrics"
"""The response header with the report."""
FILTER: Final = "envoy.filters.http.header_mutation"

WHY: Final = {
    f"http_filters {FILTER}": "After the service has read it, an instance's load report is taken from the answer.",
    "request_headers_to_add": "Asks vLLM for a load report with each answer.",
}


def ask_for_reports() -> HeaderValueOption:
    """The request header by which vLLM (from 0.11) sends reports."""
    return HeaderValueOption(
        header=HeaderValue(key="endpoint-load-metrics-format", value="TEXT"),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def keep_from_clients() -> HttpFilter:
    """A filter ahead of ours: answers pass it after ours has read them."""
    drop = Mutations(response_mutations=[HeaderMutation(remove=REPORT_HEADER)])
    return HttpFilter(name=FILTER, typed_config=Any.pack(HeaderMutationFilter(mutations=drop)))
