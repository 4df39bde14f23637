"""A collector gets what Prometheus gets, and spans; one that is dead delays nobody."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.sdk.metrics import MeterProvider

from extproc.demo.processes import free_ports
from extproc.routing.exchange import Outcome, Undecided
from extproc.telemetry.instruments import Telemetry
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.names import INSTRUMENTS, Kind
from extproc.telemetry.otlp import OtlpReader, this_process
from tests.telemetry.recorded import CANARY, happened

OUTCOME = Outcome(None, None, None, Undecided.ENDED_EARLY)


class Collector(ThreadingHTTPServer):
    """Takes what is posted to it; answers at once, or not before it is let go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answering = threading.Event()
        self.came = threading.Semaphore(0)
        self.status = 200
        self.posted: dict[str, list[bytes]] = {}

    @property
    def endpoint(self) -> str:
        """As the setting has it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def metrics(self) -> dict[str, Metric]:
        """The last ones, by name."""
        request = ExportMetricsServiceRequest.FromString(self.posted["/v1/metrics"][-1])
        (resource,) = request.resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        """Take it."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.setdefault(self.path, []).append(body)
        self.server.came.release()
        self.server.answering.wait()
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def collector(*, answers: bool = True) -> Iterator[Collector]:
    """One on loopback."""
    server = Collector()
    if answers:
        server.answering.set()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.answering.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_collector_gets_every_instrument_of_the_table() -> None:
    """By OpenTelemetry's names, with unit and meaning; histograms are histograms, and nothing quotes a prompt."""
    with collector() as server:
        Telemetry(*happened(), otlp_endpoint=server.endpoint + "/").close()
    metrics = server.metrics()
    assert {(metric.name, metric.unit, metric.description) for metric in metrics.values()} == {
        (entry.name, entry.unit, entry.meaning) for entry in INSTRUMENTS
    }
    for entry in INSTRUMENTS:
        kinds = {Kind.COUNTER: "sum", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "histogram"}
        assert metrics[entry.name].WhichOneof("data") == kinds[entry.kind]
    assert CANARY.encode() not in server.posted["/v1/metrics"][-1]


def test_a_histogram_arrives_with_its_buckets() -> None:
    """0.2 ms and 300 ms; its least and greatest value, which nobody keeps, are left out."""
    with collector() as server:
        Telemetry(*happened(), otlp_endpoint=server.endpoint).close()
    points = server.metrics()["dualpool.phase.duration"].histogram.data_points
    (body,) = [point for point in points if point.attributes[0].value.string_value == "request_body"]
    assert (body.count, sum(body.bucket_counts), list(body.bucket_counts)[3]) == (2, 2, 1)
    assert body.sum == pytest.approx(0.3002)
    assert len(body.bucket_counts) == len(body.explicit_bounds) + 1
    assert not body.HasField("min")
    assert not body.HasField("max")
    assert 0 < body.start_time_unix_nano <= body.time_unix_nano


def test_metrics_are_sent_again_and_again() -> None:
    """Not only at the end."""
    with collector() as server:
        reader = OtlpReader(server.endpoint, Ledger(), interval_s=0.01)
        provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
        provider.get_meter("dualpool").create_observable_gauge("something")
        provider.get_meter("dualpool").create_counter("more").add(1)
        assert server.came.acquire(timeout=30.0)
        assert server.came.acquire(timeout=30.0)
        provider.shutdown()


def test_spans_arrive_with_who_sent_them() -> None:
    """The service's name, its version, and which of its processes."""
    with collector() as server:
        telemetry = Telemetry(Ledger(), happened()[1], otlp_endpoint=server.endpoint, trace_share=1.0)
        assert telemetry.spans is not None
        telemetry.spans.record(OUTCOME, traceparent="", arrived_ns=1_000, ended_ns=2_000)
        telemetry.close()
    (resource,) = ExportTraceServiceRequest.FromString(server.posted["/v1/traces"][0]).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert (span.name, span.start_time_unix_nano, span.end_time_unix_nano) == ("dualpool.exchange", 1_000, 2_000)
    told = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert told["service.name"] == "dualpool"
    assert told["service.version"]
    assert told["service.instance.id"]


def test_processes_are_told_apart_and_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers that send as one would overwrite each other; an operator's own names win."""
    first, second = this_process().attributes, this_process().attributes
    assert first["service.instance.id"] != second["service.instance.id"]
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=a,deployment.environment.name=prod")
    named = this_process().attributes
    assert (named["service.instance.id"], named["deployment.environment.name"]) == ("a", "prod")


def test_a_collector_that_hangs_delays_no_exit() -> None:
    """The process is done while the collector still holds on to what it was sent."""
    with collector(answers=False) as server:
        telemetry = Telemetry(*happened(), otlp_endpoint=server.endpoint, trace_share=1.0)
        assert telemetry.spans is not None
        for second in range(3000):
            telemetry.spans.record(OUTCOME, traceparent="", arrived_ns=1, ended_ns=second * 10**9)
        assert server.came.acquire(timeout=30.0)
        telemetry.close(timeout_s=0.1)
        assert not server.answering.is_set()


def test_a_collector_that_is_not_there_delays_no_exit(caplog: pytest.LogCaptureFixture) -> None:
    """And is complained of a few times, whatever number of spans could not be sent."""
    (port,) = free_ports(1)
    telemetry = Telemetry(*happened(), otlp_endpoint=f"http://127.0.0.1:{port}", trace_share=1.0)
    assert telemetry.spans is not None
    for second in range(5000):
        telemetry.spans.record(OUTCOME, traceparent="", arrived_ns=1, ended_ns=second * 10**9)
    telemetry.close(timeout_s=0.1)
    assert len(caplog.records) < 20


def test_what_a_collector_refuses_is_counted() -> None:
    """By what it was; what it takes is none."""
    for status, failures in ((400, {"metrics": 1, "spans": 1}), (200, {"metrics": 0, "spans": 0})):
        ledger, router = happened()
        with collector() as server:
            server.status = status
            telemetry = Telemetry(ledger, router, otlp_endpoint=server.endpoint, trace_share=1.0)
            assert telemetry.spans is not None
            telemetry.spans.record(OUTCOME, traceparent="", arrived_ns=1, ended_ns=2)
            telemetry.close(timeout_s=30.0)
        assert ledger.otlp_failures == failures


def test_nothing_is_sent_unless_it_is_asked_for() -> None:
    """Without an endpoint there are neither spans nor threads that send."""
    before = set(threading.enumerate())
    telemetry = Telemetry(*happened())
    assert telemetry.spans is None
    assert set(threading.enumerate()) <= before
    telemetry.close()
