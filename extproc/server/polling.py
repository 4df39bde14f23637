"""How gRPC's core waits for its sockets in this process; to be said before grpc is imported, which reads it once.

By default a pool of threads of gRPC's own reads and writes the sockets of a server, and hands each event to the thread
that hands it to the event loop. Without it that second thread waits for the sockets by itself (ADR 16).
"""

import os

EXPERIMENTS_VARIABLE = "GRPC_EXPERIMENTS"
WITHOUT_EVENT_ENGINE = "-event_engine_listener"
"""A release that no longer has the name says so in one line of its log, and polls as it does."""


def poll_without_event_engine() -> None:
    """Unless the operator says otherwise, by the variable that gRPC reads."""
    os.environ.setdefault(EXPERIMENTS_VARIABLE, WITHOUT_EVENT_ENGINE)
