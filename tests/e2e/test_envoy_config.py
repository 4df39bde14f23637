"""The rendered configuration in a real Envoy: without a service, and with one that says what a test tells it to."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingMode as TheirMode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from extproc._proto import external_processor_pb2 as pb
from extproc._proto.core_pb2 import HeaderValue, HeaderValueOption
from extproc._proto.processing_mode_pb2 import ProcessingMode
from extproc.demo.processes import envoy, free_ports
from extproc.envoyconfig import modes
from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from extproc.routing.headers import (
    BUDGET_HEADER,
    EXPLAIN_HEADERS,
    OWN_HEADERS,
    POOL_HEADER,
    REASON_HEADER,
    SERVED_HEADER,
)

pytestmark = pytest.mark.e2e

MESSAGE_TIMEOUT_S = 1.5
"""Short enough to wait for once, long enough that a busy machine does not look like a hung service."""


class Instance(BaseHTTPRequestHandler):
    """Answers with its pool's name, the headers it saw and the number of bytes it got.

    Of requests with `x-lose: NAME` it loses the first of each name: it hangs up once it has the body.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer one request."""
        got = self._body_bytes()
        name = self.headers.get("x-lose")
        if name and name not in self.server.lost:  # type: ignore[attr-defined] # set where it is started
            self.server.lost.add(name)  # type: ignore[attr-defined]
            self.close_connection = True
            return
        seen = {"pool": self.server.pool, "got": got, "headers": dict(self.headers)}  # type: ignore[attr-defined] # set where it is started
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if self.path == "/sse" else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body_bytes(self) -> int:
        if "content-length" in self.headers:
            return len(self.rfile.read(int(self.headers["content-length"])))
        got = 0
        while chunk_bytes := int(self.rfile.readline(), 16):
            got += len(self.rfile.read(chunk_bytes))
            self.rfile.readline()
        self.rfile.readline()
        return got

    def do_GET(self) -> None:
        """Healthy."""
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Service:
    """An ext_proc service that notes what it is sent and answers as the test has set."""

    answer: Callable[[pb.ProcessingRequest], pb.ProcessingResponse | None] = lambda _: None
    seen: list[pb.ProcessingRequest] = field(default_factory=list)

    def process(self, requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Any:
        """One call; ends, or hangs if the answer says so, as the test wants."""
        seen = self.seen  # the end of an answer may come when the next test has begun to note
        for request in requests:
            seen.append(request)
            response = self.answer(request)
            if response is None:
                hung = threading.Event()
                context.add_callback(hung.set)
                hung.wait(timeout=10)
                return
            yield response

    def kinds(self) -> list[str | None]:
        """What it was sent, in order."""
        return [request.WhichOneof("request") for request in self.seen]


@dataclass(frozen=True)
class Reply:
    """What a client saw."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Gateway:
    """A running Envoy and what is behind it."""

    options: EnvoyOptions
    service: Service

    def post(
        self,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = "/json",
        baseline: bool = False,
        body: bytes | Iterator[bytes] = b"{}",
    ) -> Reply:
        """Send a request through it, a small one unless another is given; in chunks if its body is an iterator."""
        door = self.options.baseline_listen if baseline else self.options.listen
        assert door is not None
        connection = http.client.HTTPConnection(door.host, door.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", path, body=body, headers={"content-type": "application/json", **(headers or {})})
            response = connection.getresponse()
            said = response.read()
            is_ours = response.status == http.client.OK
            return Reply(response.status, dict(response.getheaders()), json.loads(said) if is_ours else {})


@pytest.fixture(scope="module")
def upstreams() -> Iterator[dict[str, Address]]:
    """An instance for each pool."""
    servers = {}
    for pool in ("short", "long"):
        servers[pool] = ThreadingHTTPServer(("127.0.0.1", 0), Instance)
        servers[pool].pool = pool  # type: ignore[attr-defined] # told to its handlers
        servers[pool].lost = set()  # type: ignore[attr-defined]
        threading.Thread(target=servers[pool].serve_forever, daemon=True).start()
    yield {pool: Address("127.0.0.1", server.server_port) for pool, server in servers.items()}
    for server in servers.values():
        server.shutdown()
        server.server_close()


def options_for(upstreams: dict[str, Address], service_port: int) -> EnvoyOptions:
    """A configuration on free ports."""
    listen, admin, baseline = (Address("127.0.0.1", port) for port in free_ports(3))
    return EnvoyOptions(
        listen=listen,
        admin=admin,
        baseline_listen=baseline,
        extproc=(Address("127.0.0.1", service_port),),
        short=(upstreams["short"],),
        long=(upstreams["long"],),
        message_timeout_s=MESSAGE_TIMEOUT_S,
    )


@pytest.fixture(scope="module")
def alone(upstreams: dict[str, Address]) -> Iterator[Gateway]:
    """An Envoy whose service is not there."""
    options = options_for(upstreams, *free_ports(1))
    with envoy(find_envoy(), bootstrap_yaml(options), concurrency=1):
        yield Gateway(options, Service())


@pytest.fixture(scope="module")
def asking(upstreams: dict[str, Address]) -> Iterator[Gateway]:
    """An Envoy with a service that says what a test tells it to."""
    service = Service()
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    handler = grpc.stream_stream_rpc_method_handler(
        service.process, pb.ProcessingRequest.FromString, pb.ProcessingResponse.SerializeToString
    )
    name = "envoy.service.ext_proc.v3.ExternalProcessor"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Process": handler}),))
    health = HealthServicer()
    health.set("readiness", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    options = options_for(upstreams, server.add_insecure_port("127.0.0.1:0"))
    server.start()
    with envoy(find_envoy(), bootstrap_yaml(options), concurrency=1):
        yield Gateway(options, service)
    server.stop(grace=None).wait()


@pytest.fixture
def gateway(asking: Gateway) -> Gateway:
    """The same with nothing noted yet."""
    asking.service.seen = []
    return asking


def setting(headers: Mapping[str, str]) -> pb.CommonResponse:
    """An answer that sets headers of the request and has the route chosen anew."""
    options = [
        HeaderValueOption(
            header=HeaderValue(key=name, raw_value=value.encode()),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in headers.items()
    ]
    return pb.CommonResponse(header_mutation=pb.HeaderMutation(set_headers=options), clear_route_cache=True)


SHORT = setting({POOL_HEADER: "short"})
UNDECIDED = setting({POOL_HEADER: "long"})
"""What must go with the wish for a body, or one that comes late changes no route."""


def at_headers(
    common: pb.CommonResponse | None = None,
    *,
    request_mode: TheirMode | None = None,
    response_mode: TheirMode | None = None,
) -> Callable[[pb.ProcessingRequest], pb.ProcessingResponse]:
    """A service that answers headers so, asks for bodies so, and passes bodies on."""

    def override(mode: TheirMode | None) -> ProcessingMode | None:
        return ProcessingMode.FromString(bytes(mode)) if mode else None

    def answer(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
        match request.WhichOneof("request"):
            case "request_headers":
                headers = pb.HeadersResponse(response=common)
                return pb.ProcessingResponse(request_headers=headers, mode_override=override(request_mode))
            case "request_body":
                return pb.ProcessingResponse(request_body=pb.BodyResponse(response=SHORT))
            case "response_headers":
                headers = pb.HeadersResponse()
                return pb.ProcessingResponse(response_headers=headers, mode_override=override(response_mode))
            case _:
                return pb.ProcessingResponse(response_body=pb.BodyResponse())

    return answer


@pytest.mark.parametrize("headers", [{}, {POOL_HEADER: "short"}, {POOL_HEADER: "long", REASON_HEADER: "fits"}])
def test_without_a_service_everything_goes_long_unharmed(alone: Gateway, headers: dict[str, str]) -> None:
    """A client's own headers of ours choose nothing and reach nobody, and the answer shows only who gave it."""
    reply = alone.post(headers)
    assert (reply.status, reply.body["pool"], reply.body["got"]) == (200, "long", 2)
    assert not any(name.startswith("x-dualpool") for name in reply.body["headers"])
    shown = {name: value for name, value in reply.headers.items() if name.startswith("x-dualpool")}
    assert shown == {SERVED_HEADER: "long"}


@pytest.mark.parametrize("own", ["mine", "12345678-1234-4234-8234-123456789012"])
def test_a_request_keeps_the_id_its_client_gave_it(alone: Gateway, own: str) -> None:
    """As of vLLM itself, also where it looks like one of Envoy's; without one Envoy makes it up."""
    assert alone.post({"x-request-id": own}).body["headers"]["x-request-id"] == own
    made_up = [alone.post().body["headers"]["x-request-id"] for _ in range(2)]
    assert made_up[0] != made_up[1]


@pytest.mark.parametrize("size_bytes", [2, 900_000, 2**20, 2**20 + 1, 3_000_000, 16_000_000])
def test_what_a_long_instance_loses_is_asked_of_it_again_whatever_its_size(alone: Gateway, size_bytes: int) -> None:
    """Bodies above the listener's buffer limit are kept for it as well."""
    reply = alone.post({"x-lose": f"plain {size_bytes}"}, body=b"x" * size_bytes)
    assert (reply.status, reply.body.get("got")) == (200, size_bytes)
    assert reply.headers["x-envoy-attempt-count"] == "2"


@pytest.mark.parametrize(("pieces", "status"), [(9, 200), (30, 503)])
def test_of_a_body_in_chunks_as_much_is_kept_as_the_listener_allows(alone: Gateway, pieces: int, status: int) -> None:
    """Its size is unknown when the route is chosen: it can be lost with its instance, and is passed unharmed if not."""
    fate = {"x-lose": f"{pieces} chunks"}
    assert alone.post(fate, body=iter([b"x" * 100_000] * pieces)).status == status
    assert alone.post(fate, body=iter([b"x" * 100_000] * pieces)).body["got"] == pieces * 100_000


def test_the_baseline_door_asks_nobody(gateway: Gateway) -> None:
    """A request through it is answered, by the default route, and the service hears nothing of it."""
    reply = gateway.post({POOL_HEADER: "short"}, baseline=True)
    assert (reply.status, reply.body["pool"]) == (200, "long")
    assert gateway.service.seen == []


def test_the_service_chooses_and_the_client_does_not(gateway: Gateway) -> None:
    """The service's header wins over the client's, in the route, upstream and in the answer."""
    gateway.service.answer = at_headers(setting({POOL_HEADER: "short", REASON_HEADER: "fits"}))
    reply = gateway.post({POOL_HEADER: "long", BUDGET_HEADER: "1"})
    assert (reply.status, reply.body["pool"]) == (200, "short")
    assert {n: v for n, v in reply.headers.items() if n in OWN_HEADERS} == {
        POOL_HEADER: "short",
        REASON_HEADER: "fits",
    }


def test_the_service_can_set_nothing_else(gateway: Gateway) -> None:
    """Other headers it tries are left out, while all of ours pass."""
    explained = dict.fromkeys(EXPLAIN_HEADERS, "v")
    tried = setting({POOL_HEADER: "short", "x-dualpool-other": "v", "authorization": "v", **explained})
    gateway.service.answer = at_headers(tried)
    reply = gateway.post({"authorization": "Bearer secret"})
    assert reply.body["pool"] == "short"
    assert set(EXPLAIN_HEADERS) <= reply.headers.keys()
    assert "x-dualpool-other" not in reply.body["headers"]
    assert reply.body["headers"]["authorization"] == "Bearer secret"


def test_credentials_reach_the_pool_and_not_the_service(gateway: Gateway) -> None:
    """The service is told what it needs to judge by, and no more."""
    gateway.service.answer = at_headers(SHORT)
    gateway.post({"authorization": "Bearer secret", "cookie": "a=b", "x-api-key": "secret"})
    told = {header.key for header in gateway.service.seen[0].request_headers.headers.headers}
    assert {":path", ":method", "content-type", "content-length"} <= told
    assert told <= {":path", ":method", "content-type", "content-length"}


def test_the_request_body_comes_when_it_is_asked_for(gateway: Gateway) -> None:
    """The override is honoured: the whole body arrives, and its answer chooses the route."""
    gateway.service.answer = at_headers(UNDECIDED, request_mode=modes.WANT_REQUEST_BODY)
    assert gateway.post().body["pool"] == "short"
    assert gateway.service.kinds() == ["request_headers", "request_body", "response_headers"]
    body = gateway.service.seen[1].request_body
    assert (body.body, body.end_of_stream) == (b"{}", True)


def test_what_is_kept_for_a_second_attempt_does_not_reach_the_service(gateway: Gateway) -> None:
    """Of a body of unknown size it is shown about twice the listener's limit at most."""
    gateway.service.answer = at_headers(UNDECIDED, request_mode=modes.WANT_REQUEST_BODY)
    assert gateway.post(body=iter([b"x" * 100_000] * 100)).body["got"] == 10_000_000
    shown = next(request.request_body for request in gateway.service.seen if request.HasField("request_body"))
    assert 2**20 <= len(shown.body) <= 2 * 2**20 + 2**16
    assert not shown.end_of_stream


@pytest.mark.parametrize(("mode", "path"), [(modes.WANT_JSON_BODY, "/json"), (modes.WANT_SSE_BODY, "/sse")])
def test_the_response_body_comes_when_it_is_asked_for(gateway: Gateway, mode: TheirMode, path: str) -> None:
    """Each override for responses is honoured, and what the client gets is what the service was shown."""
    gateway.service.answer = at_headers(SHORT, response_mode=mode)
    reply = gateway.post(path=path)
    kinds = gateway.service.kinds()
    assert kinds[:2] == ["request_headers", "response_headers"]
    assert set(kinds[2:]) == {"response_body"}
    shown = b"".join(request.response_body.body for request in gateway.service.seen)
    assert json.loads(shown) == reply.body


@pytest.mark.parametrize("body_mode", ["BUFFERED", "STREAMED", "FULL_DUPLEX_STREAMED"])
def test_an_override_that_is_not_listed_is_ignored(gateway: Gateway, body_mode: str) -> None:
    """Envoy keeps to the list: what could answer 413 or hold up a long prompt never happens."""
    foreign = TheirMode.from_dict(modes.CONFIGURED.to_dict() | {"requestBodyMode": body_mode})
    gateway.service.answer = at_headers(SHORT, request_mode=foreign)
    assert gateway.post().body["pool"] == "short"
    assert gateway.service.kinds() == ["request_headers", "response_headers"]


def test_a_hung_service_costs_one_message_timeout(gateway: Gateway) -> None:
    """The request waits that long, once, and then goes to the long pool."""
    gateway.service.answer = lambda _: None
    before_s = time.monotonic()
    reply = gateway.post()
    waited_s = time.monotonic() - before_s
    assert waited_s == pytest.approx(MESSAGE_TIMEOUT_S, rel=0.5), "the timeout, by a clock that counts milliseconds"
    assert (reply.status, reply.body["pool"]) == (200, "long")
    assert gateway.service.kinds() == ["request_headers"]
