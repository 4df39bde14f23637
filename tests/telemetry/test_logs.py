"""What is logged is one line, is not repeated without end, and quotes no request."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Literal

import pytest

from extproc.telemetry.logs import BURST, INTERVAL_S, RateLimit, configure_logging, message_of

CANARY = "canary-7f3a what the user typed"


class Logs:
    """Logging as configured, and what came of it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def configure(self, style: Literal["text", "json"] = "text", level: str = "info") -> None:
        """Begin."""
        configure_logging(style, level, stream=self.stream)

    def lines(self) -> list[str]:
        """Everything written so far: closing waits for the thread that writes."""
        root = logging.getLogger()
        for handler in root.handlers:
            if handler.name == "dualpool":
                handler.close()
        return self.stream.getvalue().splitlines()


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Logging to a string, and as it was before afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("extproc")
    before, levels = root.handlers[:], (root.level, ours.level)
    yield Logs()
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def record(line: int, created_s: float) -> logging.LogRecord:
    """A record of one place in the code at one time."""
    made = logging.LogRecord("extproc.x", logging.INFO, "x.py", line, "said", (), None)
    made.created = created_s
    return made


def test_a_line_of_text_says_when_how_grave_who_and_what(logs: Logs) -> None:
    """Fields follow the message."""
    logs.configure("text")
    logging.getLogger("extproc.server.app").info("ready on %s", "127.0.0.1:1", extra={"workers": 2})
    (line,) = logs.lines()
    assert line[10] == "T"
    assert line[23:] == "Z INFO extproc.server.app: ready on 127.0.0.1:1 (workers=2)"


def test_json_is_one_object_a_line(logs: Logs) -> None:
    """With every field a machine needs, whatever a message has in it."""
    logs.configure("json")
    logging.getLogger("extproc.x").warning("two\nlines and a %s", '"', extra={"pool": "short", "odd": {1}})
    (line,) = logs.lines()
    said = json.loads(line)
    assert said.pop("time").endswith("Z")
    assert said == {
        "level": "warning", "logger": "extproc.x", "message": 'two\nlines and a "', "pool": "short", "odd": [1],
    }  # fmt: skip


def test_a_field_cannot_pose_as_what_every_line_has(logs: Logs) -> None:
    """An extra called level changes no level."""
    logs.configure("json")
    logging.getLogger("extproc.x").info("said", extra={"level": "critical"})
    assert json.loads(logs.lines()[0])["level"] == "info"


def test_text_cannot_forge_a_line_or_steer_a_terminal(logs: Logs) -> None:
    """Line breaks and control codes are written as Python writes them."""
    logs.configure("text")
    logging.getLogger("extproc.x").warning("file %s", "a\n2026 INFO extproc: all is well\x1b[2J")
    (line,) = logs.lines()
    assert line.endswith("file a\\n2026 INFO extproc: all is well\\x1b[2J")


def test_of_an_exception_only_its_type_and_place_are_told(logs: Logs) -> None:
    """Its text may quote a request; so may that of the one it came from."""
    logs.configure("text")
    try:
        int(CANARY)
    except ValueError:
        logging.getLogger("extproc.x").exception("our bug")
    (line,) = logs.lines()
    assert "our bug (exception=ValueError, where=test_of_an_exception" in line
    assert CANARY not in line


@pytest.mark.parametrize("library", ["grpc._cython.cygrpc", "asyncio", "whatever"])
def test_a_library_s_arguments_and_further_lines_are_left_out(logs: Logs, library: str) -> None:
    """They may quote a request: asyncio writes the repr of a task, and with it of its exception."""
    logs.configure("json")
    logging.getLogger(library).error("Unexpected %s", CANARY)
    logging.getLogger(library).error(f"Task exception was never retrieved\nfuture: <Task {CANARY}>")  # noqa: G004
    said = [json.loads(line)["message"] for line in logs.lines()]
    assert said == ["Unexpected %s", "Task exception was never retrieved"]


def test_what_cannot_have_seen_a_request_is_told_in_full() -> None:
    """Why a collector does not answer is in the arguments."""
    made = logging.LogRecord("opentelemetry.exporter", logging.ERROR, "x.py", 1, "reason: %s", ("refused",), None)
    assert message_of(made) == "reason: refused"


def test_libraries_are_heard_from_warning_on(logs: Logs) -> None:
    """Also while we debug."""
    logs.configure("text", "debug")
    logging.getLogger("extproc.x").debug("ours")
    logging.getLogger("grpc").info("theirs")
    assert [line.split(": ")[1] for line in logs.lines()] == ["ours"]


def test_a_grave_level_holds_for_libraries_too(logs: Logs) -> None:
    """At error nobody's warnings pass."""
    logs.configure("text", "error")
    logging.getLogger("extproc.x").warning("ours")
    logging.getLogger("grpc").warning("theirs")
    assert logs.lines() == []


def test_configuring_again_replaces_what_was_configured(logs: Logs) -> None:
    """Or every line would be written twice."""
    logs.configure("text")
    logs.configure("json")
    logging.getLogger("extproc.x").info("once")
    assert len(logs.lines()) == 1


def test_the_first_few_of_a_place_pass_and_then_one_in_a_while() -> None:
    """That one says how many were left out, and the count begins anew."""
    limit = RateLimit()
    assert all(limit.filter(record(1, 0.0)) for _ in range(BURST))
    assert not any(limit.filter(record(1, INTERVAL_S - 1.0)) for _ in range(7))
    late = record(1, INTERVAL_S)
    assert limit.filter(late)
    assert vars(late)["left_out"] == 7
    assert not limit.filter(record(1, 1.5 * INTERVAL_S))
    later = record(1, 2 * INTERVAL_S)
    assert limit.filter(later)
    assert vars(later)["left_out"] == 1


def test_places_do_not_share_a_limit() -> None:
    """What one repeats without end hides nothing another says."""
    limit = RateLimit(burst=1)
    assert limit.filter(record(1, 0.0))
    assert not limit.filter(record(1, 0.0))
    assert limit.filter(record(2, 0.0))


def test_places_are_bounded() -> None:
    """Code has few, but a library that makes up file names must not fill the memory."""
    limit = RateLimit(burst=1)
    assert sum(limit.filter(record(line, 0.0)) for line in range(5000)) < 2000


class Stuck(io.StringIO):
    """A standard error whose reader hangs until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def write(self, text: str) -> int:
        """Wait."""
        self.let_go.wait()
        return super().write(text)


def test_a_standard_error_that_hangs_delays_nobody(logs: Logs) -> None:
    """Lines wait up to a bound, and how many were lost is told once it goes on."""
    logs.stream = stream = Stuck()
    logs.configure("json")
    log = logging.getLogger("extproc.x")
    for line in range(3000):
        log.handle(logging.LogRecord("extproc.x", logging.INFO, f"{line % 1000}.py", 1, "said", (), None))
    stream.let_go.set()
    said = [json.loads(line)["message"] for line in logs.lines()]
    assert said.count("said") + int(said[-1].split()[0]) == 3000
    assert 1000 <= said.count("said") <= 1001
    assert said[-1].endswith("log lines were lost: standard error was slow")


def test_a_closed_standard_error_is_no_error(logs: Logs) -> None:
    """There is nowhere left to say so, and the thread that writes ends as it should."""
    logs.configure("text")
    logs.stream.close()
    logging.getLogger("extproc.x").info("to nobody")
    logs.stream = io.StringIO()
    assert logs.lines() == []
    assert not [thread for thread in threading.enumerate() if thread.name == "logs"]


def test_that_an_envoy_has_left_is_not_logged_as_an_error(logs: Logs) -> None:
    """GRPC's other errors are."""
    logs.configure("text")
    theirs = logging.getLogger("grpc._cython.cygrpc")
    theirs.error("ExecuteBatchError raised in core by servicer method [/envoy/Process]")
    theirs.error("Unexpected [ValueError] raised by servicer method [/envoy/Process]")
    (line,) = logs.lines()
    assert "Unexpected" in line
