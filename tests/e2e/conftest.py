"""A small deployment for tests: a real Envoy, the service, and one mock instance for each pool, on loopback."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from extproc.demo.processes import LOOPBACK, Child, child, envoy, free_ports
from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from tests.e2e.counted import metric_of, settled

DUALPOOL = (sys.executable, "-m", "extproc")
Filters = Sequence[Mapping[str, Any]]
"""HTTP filters as an operator writes them into `http_filters`."""


@dataclass
class Service:
    """The external processor, which tests kill, stop and start again on the same address."""

    listen: Address
    metrics: Address
    settings: Mapping[str, str]
    running: Child | None = None
    _stack: contextlib.ExitStack | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._stack = contextlib.ExitStack()
        command = [*DUALPOOL, "serve", "--listen", str(self.listen), "--metrics-listen", str(self.metrics)]
        started = child(
            "service",
            [*command, "--explain-headers"],
            answers_at=f"http://{self.metrics}/metrics",
            environment={**os.environ, **self.settings},
        )
        self.running = self._stack.enter_context(started)

    def kill(self) -> None:
        """End it without a chance to drain."""
        if self.running is not None and self._stack is not None:
            self.running.process.kill()
            self._stack.close()
            self.running = None

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels, when what has ended is written down."""
        return metric_of(settled(f"http://{self.metrics}/metrics"), name, **labels)

    def settle(self) -> None:
        """Wait until every exchange has ended: a client may have its answer a moment before that."""
        give_up_s = time.monotonic() + 5.0
        while self.metric("dualpool_streams"):
            assert time.monotonic() < give_up_s, "an exchange stays open"
            time.sleep(0.02)


@dataclass
class Stage:
    """The running parts."""

    url: str
    address: tuple[str, int]
    envoy: Child
    service: Service
    short: Child

    def wait_until_asking(self) -> None:
        """Envoy asks the service only after its first health check; until then everything goes long."""
        give_up_s = time.monotonic() + 20.0
        while "x-dualpool-pool" not in httpx.get(f"{self.url}/v1/models").headers:
            assert time.monotonic() < give_up_s, "Envoy never asked the service"
            time.sleep(0.05)

    def client(self) -> httpx.Client:
        """A client of Envoy that asks the mock to echo what it received."""
        return httpx.Client(base_url=self.url, headers={"x-mock-echo": "1"}, timeout=30.0)


@contextlib.contextmanager
def staged(
    *,
    settings: Mapping[str, str] | None = None,
    before: Filters = (),
    behind: Filters = (),
    on_long: Mapping[str, Any] | None = None,
    short_flags: Sequence[str] = (),
    long_flags: Sequence[str] = (),
    **options: float,
) -> Iterator[Stage]:
    """A running deployment.

    `settings` are the service's environment; `before` and `behind` are filters on either side of ours, `on_long` what
    the route to the long pool says to them; `short_flags` and `long_flags` are for the mock instances, `options` for
    Envoy's configuration.
    """
    listen, admin, grpc, metrics, short, long = (Address(LOOPBACK, port) for port in free_ports(6))
    service = Service(grpc, metrics, settings or {})
    with contextlib.ExitStack() as stack:
        short_instance = stack.enter_context(_instance("short", short, 8192, short_flags))
        stack.enter_context(_instance("long", long, 131_072, long_flags))
        service.start()
        stack.callback(service.kill)
        config = EnvoyOptions(listen=listen, admin=admin, extproc=(grpc,), short=(short,), long=(long,), **options)  # type: ignore[arg-type] # limits and timeouts by name
        configured = _surrounded(bootstrap_yaml(config), before, behind, on_long or {})
        running = stack.enter_context(envoy(find_envoy(), configured, concurrency=1))
        stage = Stage(f"http://{listen}", (listen.host, listen.port), running, service, short_instance)
        stage.wait_until_asking()
        yield stage


def _surrounded(config: str, before: Filters, behind: Filters, on_long: Mapping[str, Any]) -> str:
    """The configuration with more filters around ours, as in an Envoy that already does other things."""
    if not (before or behind):
        return config
    parsed = yaml.safe_load(config)
    manager = parsed["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    ours, router = manager["http_filters"]
    manager["http_filters"] = [*before, ours, *behind, router]
    long_route = manager["route_config"]["virtual_hosts"][0]["routes"][-1]
    long_route["typed_per_filter_config"] = dict(on_long)
    return yaml.safe_dump(parsed)


def _instance(
    name: str, address: Address, max_model_len: int, flags: Sequence[str]
) -> contextlib.AbstractContextManager[Child]:
    command = [*DUALPOOL, "mock-vllm", "--host", address.host, "--port", str(address.port), "--name", name]
    command += ["--max-model-len", str(max_model_len), "--speed", "instant", *flags]
    return child(name, command, answers_at=f"http://{address}/health")


@pytest.fixture(scope="session")
def stage_factory() -> Callable[..., contextlib.AbstractContextManager[Stage]]:
    """`staged`, for tests that need a deployment of their own."""
    return staged


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A deployment as an operator would have it, every answer observed; shared by the tests of a module."""
    with staged(settings={"DUALPOOL_OBSERVE_SHARE": "1.0"}) as running:
        yield running
