"""Starts what a small deployment consists of: Envoy, the service, one mock instance per pool; drives nothing.

Or names the parts of one that runs already.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from extproc.demo.processes import LOOPBACK, Child, ChildFailedError, child, envoy, free_ports
from extproc.demo.signals import signals_held
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions, buffer_limit_for
from extproc.routing.values import Pool

LONG_MAX_MODEL_LEN = 65_536
"""The long pool's context, unless the threshold asks for more."""
_MEAN_OUTPUT_TOKENS = 24
"""Answers are short: it is prompts that are routed and learned from."""
LEARNING_SAMPLES = 2500
"""Answers that are all read: enough for each of the nine ratios to be held against the truth. Of the demo's last
requests only a share is read, as in production."""
_DUALPOOL = (sys.executable, "-m", "extproc")


@dataclass(frozen=True, slots=True)
class _Ports:
    """Where each part listens, on loopback."""

    listen: int
    baseline: int
    admin: int
    extproc: int
    metrics: int
    short: int
    long: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """The parts while they run."""

    url: str
    """Envoy with the service."""
    baseline_url: str
    """The same Envoy without the service; empty where it has no such listener."""
    metrics_url: str
    admin_url: str
    pool_urls: dict[Pool, str]
    children: tuple[Child, ...]

    def ended(self) -> Child | None:
        """A part that has ended though it should run, if any has."""
        return next((part for part in self.children if part.process.poll() is not None), None)

    def check(self) -> None:
        """Raise ChildFailedError with the end of its output if a part has ended."""
        part = self.ended()
        if part is not None:
            raise ChildFailedError(f"{part.name} ended with status {part.process.poll()}:\n{part.tail()}")


@contextmanager
def fleet(*, envoy_binary: Path, threshold_tokens: int, listen_port: int | None) -> Iterator[Fleet]:
    """Run all parts for as long as the block lasts, which begins once each of them answers."""
    ports = _ports(listen_port)
    with signals_held():
        bootstrap = bootstrap_yaml(_options(ports, threshold_tokens))
    with ExitStack() as stack:
        children = [
            stack.enter_context(_pool(Pool.SHORT, ports.short, threshold_tokens)),
            stack.enter_context(_pool(Pool.LONG, ports.long, max(LONG_MAX_MODEL_LEN, 8 * threshold_tokens))),
            stack.enter_context(_service(ports, threshold_tokens)),
            stack.enter_context(envoy(envoy_binary, bootstrap)),
        ]
        yield Fleet(
            url=_url(ports.listen),
            baseline_url=_url(ports.baseline),
            metrics_url=_url(ports.metrics) + "/metrics",
            admin_url=_url(ports.admin),
            pool_urls={Pool.SHORT: _url(ports.short), Pool.LONG: _url(ports.long)},
            children=tuple(children),
        )


def fleet_at(url: str, metrics_url: str) -> Fleet:
    """What somebody else runs: reached by these URLs alone, never watched or stopped.

    Envoy takes questions for the long pool too, as it sends there whatever is no inference.
    """
    pool_urls = {Pool.LONG: url}
    return Fleet(url, baseline_url="", metrics_url=metrics_url, admin_url="", pool_urls=pool_urls, children=())


def _ports(listen_port: int | None) -> _Ports:
    free = free_ports(7)
    return _Ports(*([listen_port, *free[1:]] if listen_port else free))


def _pool(pool: Pool, port: int, max_model_len: int) -> AbstractContextManager[Child]:
    """An instance that answers at once: the demo is about routing, and its latency about what routing adds."""
    command = [*_DUALPOOL, "mock-vllm", "--host", LOOPBACK, "--port", str(port), "--name", pool.value]
    command += ["--max-model-len", str(max_model_len), "--speed", "0"]
    command += ["--mean-output-tokens", str(_MEAN_OUTPUT_TOKENS)]
    return child(f"mock-vllm ({pool.value} pool)", command, answers_at=_url(port) + "/health")


def _service(ports: _Ports, threshold_tokens: int) -> AbstractContextManager[Child]:
    command = [*_DUALPOOL, "serve", "--listen", _address(ports.extproc), "--metrics-listen", _address(ports.metrics)]
    command += ["--threshold-tokens", str(threshold_tokens), "--explain-headers"]
    answers_at = _url(ports.metrics) + "/metrics"
    return child("dualpool serve", command, answers_at=answers_at, environment=_service_environment())


def _service_environment() -> dict[str, str]:
    """Defaults, whatever this shell has set; only more answers are read, so that there is something to compare."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DUALPOOL_")}
    return inherited | {"DUALPOOL_LEARNING_SAMPLES": str(LEARNING_SAMPLES)}


def _options(ports: _Ports, threshold_tokens: int) -> EnvoyOptions:
    return EnvoyOptions(
        listen=Address(LOOPBACK, ports.listen),
        baseline_listen=Address(LOOPBACK, ports.baseline),
        admin=Address(LOOPBACK, ports.admin),
        extproc=(Address(LOOPBACK, ports.extproc),),
        short=(Address(LOOPBACK, ports.short),),
        long=(Address(LOOPBACK, ports.long),),
        buffer_limit_bytes=buffer_limit_for(threshold_tokens),
    )


def _address(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"
