"""How the service logs: one line a record to standard error, as text or JSON; never a word that a user typed.

Our own messages are written for it. What libraries say is cut to what cannot quote a request: the first line of their
message as it stands in their code, for arguments may quote anything; of an exception its type and where it was raised,
for its text may. A thread of its own writes, so that a reader of standard error that hangs delays nobody.
"""

import logging
import sys
from collections import deque
from datetime import UTC, datetime
from threading import Event, Thread
from traceback import extract_tb
from typing import Literal, TextIO

import msgspec

BURST = 5
"""Records of one place in the code that pass before the limit holds."""
INTERVAL_S = 60.0
"""Afterwards one passes in this time, and says how many were left out."""
_PLACES_MAX = 1024
"""Places that are told apart; code has far fewer."""
_WAITING_MAX = 1000
"""Lines that wait for standard error; later ones are lost, and their number is told."""
_CLOSE_S = 1.0
_CHARS_MAX = 2000
_OURS = "extproc"
_GRPC, _FAREWELL = "grpc._cython.cygrpc", "ExecuteBatchError raised in core by servicer method"
"""Logged where a message or a status cannot be sent and gRPC has not yet heard that the client has closed."""
_SEES_NO_REQUEST = (_OURS, "dualpool", "opentelemetry")
"""Whose arguments are shown: they handle settings, files and collectors, and no request."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "left_out"}


def configure_logging(style: Literal["text", "json"], level: str, *, stream: TextIO | None = None) -> None:
    """Log to standard error from now on, in place of how this function configured it before.

    Args:
        style: for people or for machines.
        level: this and whatever is graver: debug, info, warning, error. Libraries are heard from warning on.
        stream: instead of standard error.
    """
    root = logging.getLogger()
    for former in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(former)
        former.close()
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    handler.addFilter(_is_news)
    handler.addFilter(RateLimit())
    root.addHandler(handler)
    wanted = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(wanted, logging.WARNING))
    logging.getLogger(_OURS).setLevel(wanted)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether it says more than that an Envoy left in the middle of a call, which gRPC takes for an error."""
    return not (record.name == _GRPC and str(record.msg).startswith(_FAREWELL))


class RateLimit(logging.Filter):
    """Lets the first few records of each place in the code pass, then one in a while; takes the time from records."""

    def __init__(self, burst: int = BURST, interval_s: float = INTERVAL_S) -> None:
        super().__init__()
        self._burst = burst
        self._interval_s = interval_s
        self._places: dict[tuple[str, int], _Place] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes; it then carries how many of its place were left out before it."""
        key = (record.pathname, record.lineno)
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= _PLACES_MAX:
                return False
            place = self._places[key] = _Place()
        if place.passed >= self._burst and record.created - place.last_s < self._interval_s:
            place.left_out += 1
            return False
        record.left_out = place.left_out
        place.passed, place.last_s, place.left_out = place.passed + 1, record.created, 0
        return True


class _Place:
    __slots__ = ("last_s", "left_out", "passed")

    def __init__(self) -> None:
        self.last_s = 0.0
        self.left_out = 0
        self.passed = 0


class _Text(logging.Formatter):
    """2026-11-22T07:00:00.000Z INFO extproc.server.app: ready (port=50051)."""

    def format(self, record: logging.LogRecord) -> str:
        said = {**_fields(record), **_of_exception(record)}
        tail = f" ({', '.join(f'{name}={value}' for name, value in said.items())})" if said else ""
        return _one_line(f"{_time(record)} {record.levelname} {record.name}: {message_of(record)}{tail}")


class _Json(logging.Formatter):
    """{"time": …, "level": …, "logger": …, "message": …}, and what else a record carries."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record)[:_CHARS_MAX],
            **_of_exception(record),
        }
        fields = {name: value for name, value in _fields(record).items() if name not in said}
        return msgspec.json.encode({**said, **fields}, enc_hook=str).decode()


def message_of(record: logging.LogRecord) -> str:
    """What a record says, as far as it cannot quote a request."""
    if record.name.split(".")[0] in _SEES_NO_REQUEST:
        return record.getMessage()
    return str(record.msg).partition("\n")[0]


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """What was given as `extra`, by us; and how many records were left out."""
    left_out = getattr(record, "left_out", 0)
    found: dict[str, object] = {"left_out": left_out} if left_out else {}
    if record.name.split(".")[0] == _OURS:
        found.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
    return found


def _of_exception(record: logging.LogRecord) -> dict[str, object]:
    if not record.exc_info or record.exc_info[0] is None:
        return {}
    kind, _, trace = record.exc_info
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(extract_tb(trace)))
    return {"exception": kind.__name__, "where": where}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """Nothing in a line may look like another one, or steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:_CHARS_MAX])


class _Handler(logging.Handler):
    """Hands lines to a thread that writes them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.set_name("dualpool")
        self._stream = stream
        self._lines: deque[str] = deque()
        self._lost = 0
        self._waiting, self._over = Event(), False
        self._thread = Thread(target=self._write, name="logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits; a record that cannot be formatted is told as that."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a log line must not fail who wrote it
            line = f"a log record of {record.name}:{record.lineno} cannot be shown: {type(error).__name__}"
        if len(self._lines) >= _WAITING_MAX:
            self._lost += 1
            return
        self._lines.append(line)
        self._waiting.set()

    def close(self) -> None:
        """Write what is left, for a second at most."""
        self._over = True
        self._waiting.set()
        self._thread.join(_CLOSE_S)
        super().close()

    def _write(self) -> None:
        while not self._over:
            self._waiting.wait()
            self._waiting.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        try:
            while self._lines:
                self._stream.write(self._lines.popleft() + "\n")
            if self._lost:
                self._stream.write(self.format(self._loss()) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # closed, or full: there is nowhere to say so
            self._lines.clear()

    def _loss(self) -> logging.LogRecord:
        lost, self._lost = self._lost, 0
        said = "%d log lines were lost: standard error was slow"
        return logging.LogRecord(__name__, logging.WARNING, __file__, 0, said, (lost,), None)
