"""What operators fear, all of it under load: nobody notices, and the metrics tell afterwards what it was.

Real Envoy, the service with everything on, two instances of either pool. Envoy's health checks of the pools run ten
times as often as rendered, so that the test need not wait 15 s for each instance that is gone.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from extproc.demo.processes import LOOPBACK, Child, child, free_ports
from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from tests.e2e.conftest import DUALPOOL
from tests.e2e.counted import metric_of, settled
from tests.e2e.steady import CHAT, Answered, Steady, steady

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PER_S = 40.0
PASSED = 5
"""Answers, all asked for later, by which everything before them has passed Envoy and the service."""
CONTEXT, LESS_CONTEXT = 8192, 4096
QUEUE = 12
"""Sequences at a short instance beyond which it answers 503; the steady load stays below."""
VERSIONS = {"short-1": "0.31.0", "short-2": "0.33.0"}
"""The older one refuses what does not fit with 400; the newer one counts what it refuses with 503."""
SHORT_FLAGS = ("--speed", "5", "--max-num-seqs", "4", "--max-num-queued-reqs", str(QUEUE))
LONG_CONTEXT = 131_072
LONG_FLAGS = ("--vllm-version", "0.31.0", "--speed", "20")
_HOG = b'{"model": "m", "prompt": [1], "max_tokens": 8000, "min_tokens": 8000, "ignore_eos": true}'
HOG = b"POST /v1/completions HTTP/1.1\r\nhost: hog\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
HOG %= len(_HOG), _HOG


def until(holds: Callable[[], Any], what: str, within_s: float = 30.0) -> None:
    """Wait until something holds."""
    give_up_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_s, f"never: {what}"
        time.sleep(0.05)


@dataclass
class Part:
    """A child process that is stopped and started again on the same address."""

    name: str
    address: Address
    answers_at: str
    child: Child | None = None
    log: str = ""
    """What earlier ones wrote."""
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self, command: Sequence[str]) -> None:
        """Start it and wait until it answers."""
        bare = {name: value for name, value in os.environ.items() if not name.startswith("DUALPOOL_")}
        started = child(self.name, command, answers_at=self.answers_at, environment=bare)
        self.child = self._stack.enter_context(started)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.child is not None
        self.child.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Stop it so, and wait for its end."""
        if self.child is None:
            return
        self.send(number)
        self.child.process.wait(20.0)
        self.log += self.child.log.read_text(errors="replace")
        self._stack.close()
        self.child = None


@dataclass
class Fleet:
    """The running parts."""

    folder: Path
    listen: Address
    service: Part
    short: tuple[Part, Part]
    long: tuple[Part, Part]
    envoy: Part
    admin: Address
    options: EnvoyOptions
    settings: Path

    @property
    def url(self) -> str:
        """Where clients come in."""
        return f"http://{self.listen}"

    def start_instance(self, part: Part, flags: Sequence[str], max_model_len: int) -> None:
        """Start a mock instance."""
        command = [*DUALPOOL, "mock-vllm", "--host", part.address.host, "--port", str(part.address.port)]
        part.start([*command, "--name", part.name, "--max-model-len", str(max_model_len), *flags])

    def start_short(self, *parts: Part, max_model_len: int = CONTEXT) -> None:
        """Start short instances."""
        for part in parts:
            self.start_instance(part, ("--vllm-version", VERSIONS[part.name], *SHORT_FLAGS), max_model_len)

    def start_long(self, *parts: Part) -> None:
        """Start long instances."""
        for part in parts:
            self.start_instance(part, LONG_FLAGS, LONG_CONTEXT)

    def start_service(self) -> None:
        """Start the service."""
        self.service.start([*DUALPOOL, "serve", "--config", str(self.settings)])

    def start_envoy(self, admin: Address) -> Part:
        """Start an Envoy on the clients' door; one that is there already is not disturbed."""
        config = self.folder / f"envoy-{admin.port}.yaml"
        config.write_text(_watched_closely(bootstrap_yaml(self.options), admin))
        part = Part("envoy", self.listen, f"http://{admin}/ready")
        command = [str(find_envoy()), "--config-path", str(config), "--concurrency", "1", "--log-level", "warning"]
        part.start([*command, "--disable-hot-restart", "--drain-time-s", "3"])
        self.envoy, self.admin = part, admin
        return part

    def metric(self, name: str, **labels: str) -> float:
        """A metric of the service, when what has ended is written down."""
        metrics = yaml.safe_load(self.settings.read_text())["metrics_listen"]
        return metric_of(settled(f"http://{metrics}/metrics"), f"dualpool_{name}", **labels)

    def stat(self, name: str) -> int:
        """A counter or gauge of Envoy."""
        text = httpx.get(f"http://{self.admin}/stats", params={"filter": f"^{name}$".replace(".", "\\.")}).text
        return int(text.split(": ")[1])

    def end(self) -> None:
        """Leave nothing behind."""
        for part in (self.envoy, self.service, *self.short, *self.long):
            part.end()

    def until_all_well(self) -> None:
        """Envoy and the service both know every instance to be there."""
        for pool in ("short", "long"):
            self.until_seen(pool, 2)

    def until_seen(self, pool: str, count: int) -> None:
        """Envoy and the service both know so many instances of a pool to be there."""
        until(lambda: self.stat(f"cluster.{pool}.membership_healthy") == count, f"Envoy finds {count} {pool} ones well")
        fresh = {"pool": pool, "standing": "fresh"}
        until(lambda: self.metric("pool_instances", **fresh) == count, f"the service reads {count} {pool} ones")


def _watched_closely(config: str, admin: Address) -> str:
    parsed = yaml.safe_load(config)
    parsed["admin"]["address"]["socket_address"]["port_value"] = admin.port
    for cluster in parsed["static_resources"]["clusters"]:
        if cluster["name"] in ("short", "long"):
            cluster["health_checks"][0] |= {"interval": "0.5s", "timeout": "0.5s", "no_traffic_interval": "0.5s"}
    return yaml.safe_dump(parsed)


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[Fleet]:
    listen, admin, grpc, metrics, *pool = (Address(LOOPBACK, port) for port in free_ports(8))
    one, two, *long = (
        Part(name, address, f"http://{address}/health")
        for name, address in zip(("short-1", "short-2", "long-1", "long-2"), pool, strict=True)
    )
    settings = folder / "dualpool.yaml"
    settings.write_text(yaml.safe_dump(_settings(folder, grpc, metrics, pool)))
    options = EnvoyOptions(listen=listen, admin=admin, extproc=(grpc,), short=tuple(pool[:2]), long=tuple(pool[2:]))
    service = Part("service", grpc, f"http://{metrics}/metrics")
    envoy = Part("envoy", listen, "")
    fleet = Fleet(folder, listen, service, (one, two), (long[0], long[1]), envoy, admin, options, settings)
    with contextlib.ExitStack() as stack:
        stack.callback(fleet.end)
        fleet.start_short(one, two)
        fleet.start_long(*long)
        fleet.start_service()
        fleet.start_envoy(admin)
        fleet.until_all_well()
        until(lambda: "x-dualpool-pool" in httpx.get(f"{fleet.url}/v1/models").headers, "Envoy asks the service")
        yield fleet


def _settings(folder: Path, grpc: Address, metrics: Address, pool: Sequence[Address]) -> dict[str, Any]:
    """Everything on."""
    return {
        "listen": str(grpc),
        "metrics_listen": str(metrics),
        "threshold_tokens": CONTEXT,
        "short_pool": ",".join(f"http://{address}" for address in pool[:2]),
        "long_pool": ",".join(f"http://{address}" for address in pool[2:]),
        "pool_poll_s": 0.5,
        "spillover_waiting": 2.0,
        "adaptive_threshold": True,
        "observe_share": 1.0,
        "access_log": str(folder / "access.jsonl"),
        "state_file": str(folder / "state.json"),
        "log_format": "json",
    }


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A deployment with everything on."""
    with _running(tmp_path) as running:
        yield running


# Faults


def stop_between_answers(part: Part, load: Steady) -> None:
    """Stop an instance where it stands, with requests it has not begun to answer, and none that it has.

    What has begun is lost with its instance, whoever routes: the last test here shows it. The client may not know yet:
    for Envoy an answer has begun while its headers are with the service, however long that takes on a busy machine.
    """
    while True:
        part.send(signal.SIGSTOP)
        stopped_s = time.monotonic()
        time.sleep(0.2)  # whatever it has sent arrives
        _until_answered_since(stopped_s, load)
        if not load.begun[part.name]:
            return
        part.send(signal.SIGCONT)
        time.sleep(0.02)


def _until_answered_since(asked_s: float, load: Steady) -> None:
    until(lambda: len(load.since(asked_s)) >= PASSED, "what came before has passed Envoy and the service too")


def kill(part: Part, load: Steady) -> None:
    """SIGKILL, between answers."""
    stop_between_answers(part, load)
    part.end()


def lose_one(fleet: Fleet, load: Steady) -> None:
    """One of two short instances dies, and comes back."""
    kill(fleet.short[0], load)
    until(lambda: fleet.stat("cluster.short.membership_healthy") == 1, "Envoy misses it")
    until(lambda: fleet.metric("pool_instances", pool="short", standing="fresh") == 1, "the service misses it")
    fleet.start_short(fleet.short[0])
    fleet.until_all_well()


def lose_all(fleet: Fleet, load: Steady) -> None:
    """Both die: the long pool answers for them, without being the second choice any more once that is known."""
    for part in fleet.short:
        kill(part, load)
    until(lambda: fleet.stat("cluster.short.membership_healthy") == 0, "Envoy misses them")
    until(lambda: not fleet.metric("pool_instances", pool="short", standing="fresh"), "the service misses them")
    known_s = time.monotonic() + 1.5  # Envoy tells its workers of several such changes once a second
    until(lambda: len(load.since(known_s)) > PER_S, "a second of load")
    assert {(each.served, each.attempts) for each in load.since(known_s)} == {("long", 1)}
    fleet.start_short(*fleet.short)
    fleet.until_all_well()


def refuse(fault: str) -> Callable[[Fleet, Steady], None]:
    """Every short instance fails every request so, for a second and a half of load."""

    def refusing(_fleet: Fleet, load: Steady) -> None:
        load.fault, begun_s = f"only=short,{fault}", time.monotonic()
        until(lambda: len(load.since(begun_s)) > 1.5 * PER_S, "some load")
        load.fault = ""

    refusing.__name__ = f"refuse with {fault}"
    return refusing


def fill_queues(fleet: Fleet, load: Steady) -> None:
    """Somebody else fills the queues of the short pool: it answers 503, and is relieved."""
    del load
    with contextlib.ExitStack() as hogs:
        for part in fleet.short * QUEUE:
            hog = hogs.enter_context(socket.create_connection((part.address.host, part.address.port)))
            hog.sendall(HOG)
        until(lambda: fleet.metric("pool_rejections_per_second", pool="short") > 0, "rejections are read")
        until(lambda: fleet.metric("spill_share", pool="short") > 0, "the short pool is relieved")
        until(lambda: fleet.metric("decisions_total", reason="spilled_from_short") > 0, "a request spills")
    until(lambda: fleet.metric("spill_share", pool="short") == 0, "and no more")


def hang(fleet: Fleet, load: Steady) -> None:
    """An instance goes on accepting and says nothing, until something kills it as a liveness probe does.

    Requests that it holds wait for as long as that; nobody is sent there once the health checks have found out.
    """
    stop_between_answers(fleet.short[1], load)
    until(lambda: fleet.stat("cluster.short.membership_healthy") == 1, "Envoy takes it out")
    known_s = time.monotonic() + 1.5
    until(lambda: len(load.since(known_s)) > PER_S, "a second of load")
    assert all(each.elapsed_s < 5.0 for each in load.since(known_s))
    until(lambda: fleet.metric("pool_instances", pool="short", standing="fresh") == 1, "the service misses it")
    fleet.short[1].end()
    fleet.start_short(fleet.short[1])
    fleet.until_all_well()


def shrink(fleet: Fleet, load: Steady) -> None:
    """An instance comes back with half the context: what it refuses is answered, and soon no such request is sent."""
    kill(fleet.short[0], load)
    fleet.start_short(fleet.short[0], max_model_len=LESS_CONTEXT)
    until(lambda: fleet.metric("short_max_model_len") == LESS_CONTEXT, "the service knows")
    known_s = time.monotonic()
    until(lambda: len(load.since(known_s)) > PER_S, "a second of load")
    assert {each.decided for each in load.since(known_s) if each.kind.startswith("page")} == {"long"}
    kill(fleet.short[0], load)
    fleet.start_short(fleet.short[0])
    fleet.until_all_well()
    until(lambda: fleet.metric("short_max_model_len") == CONTEXT, "the service knows")


def restart_service(number: signal.Signals) -> Callable[[Fleet, Steady], None]:
    """The service ends so, and starts again on the same addresses; meanwhile everything goes long."""

    def restart(fleet: Fleet, load: Steady) -> None:
        gone_s = time.monotonic()
        fleet.service.end(number)
        until(lambda: any(each.decided is None for each in load.since(gone_s)), "requests go on without it")
        fleet.start_service()
        back_s = time.monotonic()
        until(lambda: any(each.decided == "short" for each in load.since(back_s)), "it is asked again")

    restart.__name__ = f"restart the service with {number.name}"
    return restart


def restart_envoy(fleet: Fleet, load: Steady) -> None:
    """A new Envoy opens the same port, then the old one asks its clients to leave, and is stopped.

    No answer is lost. A client may find its idle connection closed, or one refused that the old listener had not yet
    accepted, and asks again on another, as every HTTP client does.
    """
    load.reconnects = True
    old, old_admin = fleet.envoy, fleet.admin
    fleet.start_envoy(Address(LOOPBACK, free_ports(1)[0]))
    httpx.post(f"http://{old_admin}/drain_listeners?graceful").raise_for_status()
    gone_s = time.monotonic() + 4.0
    until(lambda: time.monotonic() > gone_s and load.since(gone_s), "the old one has drained")
    old.end(signal.SIGTERM)
    until(lambda: fleet.stat("cluster.short.membership_healthy") == 2, "the new one finds the pool")
    back_s = time.monotonic()
    until(lambda: any(each.decided == "short" for each in load.since(back_s)), "the new one asks the service")
    load.reconnects = False


def restart_instances(fleet: Fleet, load: Steady) -> None:
    """Every instance of both pools is stopped and comes back, one after the other, as for a new version of vLLM."""
    for pool, parts in (("short", fleet.short), ("long", fleet.long)):
        for part in parts:
            kill(part, load)
            fleet.until_seen(pool, 1)
            (fleet.start_short if pool == "short" else fleet.start_long)(part)
            fleet.until_seen(pool, 2)


FAULTS = (lose_one, lose_all, refuse("status=400"), refuse("status=503"), refuse("reset"), fill_queues, hang, shrink)
RESTARTS = (restart_service(signal.SIGTERM), restart_service(signal.SIGKILL), restart_envoy, restart_instances)


def commit(faults: Sequence[Callable[[Fleet, Steady], None]], fleet: Fleet) -> dict[str, list[Answered]]:
    """One after the other under one load; what was asked during each, and before."""
    during = {}
    with steady(fleet.url, PER_S) as load:
        until(lambda: len(load.answered) > 3 * PER_S, "three seconds of load")
        marks = [("before", 0.0)]
        for fault in faults:
            marks.append((fault.__name__, time.monotonic()))
            fault(fleet, load)
        after_s = time.monotonic()
        marks.append(("after", after_s))
        until(lambda: len(load.since(after_s)) > PER_S, "a second of load")
    ends = [begun_s for _, begun_s in marks[1:]] + [float("inf")]
    for (name, begun_s), end_s in zip(marks, ends, strict=True):
        during[name] = [each for each in load.answered if begun_s <= each.begun_s < end_s]
    return during


def bad(during: dict[str, list[Answered]]) -> dict[str, list[Answered]]:
    """The answers that are not whole."""
    found = {name: [each for each in answers if each.fault] for name, answers in during.items()}
    return {name: answers for name, answers in found.items() if answers}


def settle(fleet: Fleet) -> None:
    """Wait until every exchange is closed."""
    until(lambda: not fleet.metric("streams"), "no exchange stays open")


def test_whatever_happens_to_the_short_pool_clients_get_good_answers_and_metrics_the_story(fleet: Fleet) -> None:
    """Killed, emptied, refusing, full, hung, shrunk: no client notices, and each leaves its mark in the metrics."""
    during = commit(FAULTS, fleet)
    settle(fleet)
    assert bad(during) == {}
    answers = [each for several in during.values() for each in several]
    elsewhere = [each for each in answers if (each.decided, each.served) == ("short", "long")]
    asked_twice = sum(each.attempts == 2 for each in elsewhere)
    # What the service counts is what the clients saw, one by one.
    assert fleet.metric("decisions_total") >= len(answers)
    assert fleet.metric("escalations_total") == fleet.metric("escalations_total", status_class="2xx") == len(elsewhere)
    for name in during.keys() - {"before", "after", "hang", "shrink"}:
        assert any(each.attempts == 2 for each in during[name]), name
    assert max(each.elapsed_s for each in during["hang"]) > 1.0, "somebody waited for the hung one"
    # Nothing was refused for good, nothing cut, nothing lost.
    assert (fleet.metric("refusals_total"), fleet.metric("truncations_total")) == (0, 0)
    assert fleet.metric("answers_read_total", outcome="cut_short") == 0
    assert fleet.metric("answers_read_total", outcome="usage") >= len(answers)
    assert fleet.metric("decisions_total", reason="spilled_from_short") > 0
    assert fleet.metric("pool_polls_total", pool="short", outcome="unreachable") > 0
    assert fleet.metric("pool_polls_total", pool="short", outcome="timeout") > 0
    assert fleet.metric("pool_polls_total", pool="long", outcome="unreachable") == 0
    assert fleet.metric("pool_instances", standing="fresh") == 4
    assert fleet.metric("pool_instances") == 4
    assert fleet.metric("internal_errors_total") == fleet.metric("undecided_total") == 0
    made = fleet.metric("decisions_total")
    until(lambda: fleet.metric("access_log_lines_total", outcome="written") == made, "each decision has its line")
    # Envoy tells the same.
    assert fleet.stat("cluster.short_then_long.upstream_rq_retry") == asked_twice
    assert fleet.stat("cluster.short_then_long.upstream_rq_retry_success") == asked_twice
    assert fleet.stat("cluster.short_then_long.upstream_rq_retry_overflow") == 0
    assert fleet.stat("cluster.short.health_check.failure") > 0
    assert fleet.stat("cluster.long.health_check.failure") == 0
    assert fleet.stat("cluster.short.membership_healthy") == 2


def test_whatever_is_restarted_clients_get_good_answers_and_what_was_learned_stays(fleet: Fleet) -> None:
    """The service politely and not, Envoy, each instance: all requests are answered well, undecided ones long.

    But for answers that had begun when their instance went: an instance is stopped between answers.
    """
    with steady(fleet.url, PER_S) as load:
        until(lambda: len(load.answered) > 2 * PER_S, "two seconds of load")
    settle(fleet)
    samples = fleet.metric("model_samples")
    during = commit(RESTARTS, fleet)
    settle(fleet)
    assert bad(during) == {}
    answers = [each for several in during.values() for each in several]
    undecided = [each for each in answers if each.decided is None]
    assert {each.served for each in undecided} == {"long"}
    assert not [each for name, several in during.items() if "envoy" not in name for each in several if each.reconnected]
    # The process that ended politely has left to the next what it had learned, and that to the last.
    assert fleet.metric("model_samples") >= samples > 0
    assert fleet.metric("state_saves_total", outcome="failed") == 0
    assert fleet.metric("internal_errors_total") == 0
    assert fleet.metric("pool_instances", standing="fresh") == 4
    assert fleet.metric("decisions_total", pool="short") > 0
    # What an instance had not answered was asked of another: of the long pool's by another of the long pool.
    again = {(each.decided, each.served) for each in during["restart_instances"] if each.attempts == 2}
    assert again >= {("short", "long"), ("long", "long")}
    assert fleet.metric("escalations_total", status_class="none") == 0
    logged = [json.loads(line) for line in fleet.service.log.splitlines()]
    assert logged
    assert [line for line in logged if line["level"] == "error"] == []


def test_an_answer_that_has_begun_is_lost_with_its_instance(fleet: Fleet) -> None:
    """No router can hide it: the client sees its stream break off without an end, and a metric says so."""
    body = {"model": "m", "stream": True, "max_tokens": 2000, "min_tokens": 2000, "ignore_eos": True}
    body |= {"stream_options": {"include_usage": True}}
    body["messages"] = [{"role": "user", "content": "hello"}]
    said: list[str] = []
    with httpx.stream("POST", f"{fleet.url}{CHAT}", json=body, timeout=30.0) as answer:
        lines = answer.iter_lines()
        said += [next(lines) for _ in range(6)]
        instance = answer.headers["x-mock-instance"]
        next(part for part in fleet.short if part.name == instance).end()
        with pytest.raises(httpx.RemoteProtocolError):
            said += list(lines)
    assert answer.status_code == 200
    assert "data: [DONE]" not in said
    settle(fleet)
    assert fleet.metric("answers_read_total", outcome="cut_short") == 1
    assert fleet.metric("escalations_total") == 0
    assert fleet.stat("cluster.short.upstream_cx_destroy_remote_with_active_rq") == 1
