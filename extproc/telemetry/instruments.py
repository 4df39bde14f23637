"""The ledger as OpenTelemetry instruments, and a Prometheus endpoint for them and for what the router knows.

Every instrument is observable: nothing is recorded on the path of a request, all of it is read at collection.
Names, units and meanings of what is counted stand here and nowhere else.
"""

from collections.abc import Callable, Iterable, Mapping
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, start_http_server

from extproc.routing.router import Router
from extproc.telemetry.ledger import REALISED_HALF_LIFE, Ledger
from extproc.telemetry.standing import declare_standing


class Telemetry:
    """Instruments over one ledger and one router."""

    def __init__(self, ledger: Ledger, router: Router) -> None:
        self.registry = CollectorRegistry()
        reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=self.registry)
        self._provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
        meter = self._provider.get_meter("dualpool")
        _declare_requests(meter, ledger)
        _declare_answers(meter, ledger)
        _declare_judgements(meter, ledger)
        declare_standing(meter, router)
        self._http: tuple[WSGIServer, Thread] | None = None

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus scrapes on a thread of its own.

        Raises:
            OSError: the address cannot be bound.
        """
        self._http = start_http_server(port, addr=host, registry=self.registry)

    def close(self) -> None:
        """Stop answering and release the instruments."""
        if self._http is not None:
            server, thread = self._http
            server.shutdown()
            server.server_close()
            thread.join()
        self._provider.shutdown()


def _declare_requests(meter: Meter, ledger: Ledger) -> None:
    def decisions(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(count, {"pool": pool, "reason": reason, "provenance": provenance, "stage": stage})
            for (pool, reason, provenance, stage), count in list(ledger.decisions.items())
        ]

    meter.create_observable_counter(
        "dualpool.decisions",
        [decisions],
        "{decision}",
        "Requests routed, by pool, reason, provenance and the stage that settled them.",
    )
    meter.create_observable_counter(
        "dualpool.undecided", [_by("reason", ledger.undecided)], "{stream}", "Streams without a decision."
    )
    meter.create_observable_counter(
        "dualpool.internal.errors",
        [lambda _: [Observation(ledger.internal_errors)]],
        "{error}",
        "Our own bugs; each of these exchanges went on without us, to the long pool if it was not routed yet.",
    )
    meter.create_observable_gauge(
        "dualpool.streams", [lambda _: [Observation(ledger.streams)]], "{stream}", "gRPC streams open."
    )


def _declare_answers(meter: Meter, ledger: Ledger) -> None:
    meter.create_observable_counter(
        "dualpool.answers.read", [_by("outcome", ledger.answers_read)], "{answer}", "Answers read for usage."
    )
    meter.create_observable_counter(
        "dualpool.learned", [lambda _: [Observation(ledger.learned)]], "{answer}", "Answers the estimator took in."
    )
    meter.create_observable_counter(
        "dualpool.estimates.compared",
        [_by("category", ledger.compared)],
        "{estimate}",
        "Estimates compared with usage.",
    )
    meter.create_observable_counter(
        "dualpool.estimates.abs_error",
        [_by("category", ledger.abs_errors)],
        "",
        "Sum of |estimate - truth| / truth over the compared estimates, without margin, before learning.",
    )
    meter.create_observable_counter(
        "dualpool.state.saves", [_by("outcome", ledger.state_saves)], "{save}", "Times the state file was written."
    )


def _declare_judgements(meter: Meter, ledger: Ledger) -> None:
    def realised(_: CallbackOptions) -> Iterable[Observation]:
        share = ledger.under_realised
        return [] if share is None else [Observation(share)]

    meter.create_observable_counter(
        "dualpool.judged", [lambda _: [Observation(ledger.judged)]], "{request}", "Decisions the usage can judge."
    )
    meter.create_observable_counter(
        "dualpool.misroutes", [_by("direction", ledger.misroutes)], "{request}", "Decisions the usage contradicts."
    )
    meter.create_observable_counter(
        "dualpool.judged.weighted",
        [lambda _: [Observation(ledger.judged_weight)]],
        "{request}",
        "Requests that the judged decisions stand for, by the share of their like that is observed.",
    )
    meter.create_observable_counter(
        "dualpool.misroutes.weighted",
        [_by("direction", ledger.misroute_weights)],
        "{request}",
        "Requests that the contradicted decisions stand for.",
    )
    meter.create_observable_gauge(
        "dualpool.under.realised",
        [realised],
        "",
        f"Share of requests that went short and did not fit, by their weights; half-life {REALISED_HALF_LIFE:.0f}.",
    )


def _by(label: str, counts: Mapping[Any, float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """Reads a copy: collection runs on another thread than the counting."""
    return lambda _: [Observation(count, {label: str(key)}) for key, count in list(counts.items())]
