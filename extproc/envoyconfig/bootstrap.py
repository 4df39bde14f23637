"""The whole of an Envoy in front of two pools, as typed objects and as YAML.

Puts together what the other modules make; the reasons beside the values are theirs.
"""

from typing import Final

from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.listener.v3 import Listener

from extproc.envoyconfig import clusters, escalation, ext_proc, listeners, orca
from extproc.envoyconfig.options import EnvoyOptions
from extproc.envoyconfig.render import to_yaml
from extproc.routing.values import Pool

WHY: Final = {
    "admin": "Envoy's own pages: statistics, configuration, and a way to stop it. They have no password, so keep them "
    "where only this machine reaches them.",
    **listeners.WHY,
    **ext_proc.WHY,
    **clusters.WHY,
    **escalation.WHY,
    **orca.WHY,
}

HEADING: Final = "Written by `dualpool envoy-config`. envoy/README.md says what must agree with what."


def bootstrap_yaml(options: EnvoyOptions) -> str:
    """A complete Envoy bootstrap as commented YAML: write it to a file for `envoy -c`."""
    return to_yaml(bootstrap(options), WHY, HEADING)


def bootstrap(options: EnvoyOptions) -> Bootstrap:
    """A complete Envoy bootstrap as typed objects."""
    return Bootstrap(
        static_resources=BootstrapStaticResources(listeners=_doors(options), clusters=_clusters(options)),
        admin=Admin(address=clusters.envoy_address(options.admin)),
    )


def _doors(options: EnvoyOptions) -> list[Listener]:
    unseen = [orca.keep_from_clients()] if options.orca else []
    asking = [*unseen, ext_proc.ext_proc_filter(options.message_timeout_s)]
    doors = [listeners.listener("dualpool", options.listen, asking, options)]
    if options.baseline_listen:
        doors.append(listeners.listener("baseline", options.baseline_listen, unseen, options))
    return doors


def _clusters(options: EnvoyOptions) -> list[Cluster]:
    limit_bytes = options.buffer_limit_bytes
    made = [
        clusters.service_cluster(options.extproc, limit_bytes),
        clusters.pool_cluster(Pool.SHORT, options.short, limit_bytes, backed=options.escalate),
        clusters.pool_cluster(Pool.LONG, options.long, limit_bytes),
    ]
    return [*made, escalation.escalating_cluster()] if options.escalate else made
