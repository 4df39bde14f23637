"""The service with all of its telemetry, or with a ledger that takes nothing in; otherwise the same, for `--telemetry`.

python -m extproc.bench.watched silent HOST:PORT
python -m extproc.bench.watched full COLLECTOR METRICS_HOST:PORT ACCESS_LOG HOST:PORT
"""

import contextlib
import sys
from pathlib import Path
from random import Random

from extproc.assembly import build_router
from extproc.bench.floor import serve_until_told
from extproc.bench.recording import SHARE_TRACED
from extproc.routing.exchange import Outcome
from extproc.routing.values import Decision
from extproc.server.app import collect_rarely
from extproc.server.notes import Notes
from extproc.server.servicer import Servicer
from extproc.settings import load_settings, split_host_port
from extproc.telemetry.accesslog import AccessLog
from extproc.telemetry.instruments import Telemetry
from extproc.telemetry.ledger import Ledger

_LOG_BYTES = 256 * 10**6


class Silent(Ledger):
    """Takes nothing in."""

    def record_decision(self, decision: Decision) -> None:
        """Nothing."""

    def record_phase(self, phase: str, elapsed_s: float) -> None:
        """Nothing."""

    def record(self, outcome: Outcome) -> None:
        """Nothing."""


async def serve_silent(listen: str) -> None:
    """Route, and tell nobody, until SIGTERM."""
    servicer = Servicer(build_router(load_settings()), Silent(), random=Random())  # noqa: S311 - no secret
    await serve_until_told(listen, servicer.handler(), began=collect_rarely)


async def serve_watched(collector: str, metrics_listen: str, access_log: str, listen: str) -> None:
    """Route, with metrics for Prometheus and a collector, a share of the exchanges traced and all of them logged."""
    ledger, router = Ledger(), build_router(load_settings())
    telemetry = Telemetry(ledger, router, otlp_endpoint=collector, trace_share=SHARE_TRACED)
    telemetry.serve(*split_host_port(metrics_listen))
    with contextlib.closing(telemetry), AccessLog(Path(access_log), _LOG_BYTES, ledger) as log:
        notes = Notes(ledger, access_log=log, spans=telemetry.spans)
        servicer = Servicer(router, ledger, random=Random(), notes=notes)  # noqa: S311 - no secret
        await serve_until_told(listen, servicer.handler(), began=collect_rarely)


if __name__ == "__main__":
    import uvloop

    kind, *arguments = sys.argv[1:]
    uvloop.run(serve_silent(*arguments) if kind == "silent" else serve_watched(*arguments))
