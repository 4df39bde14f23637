"""The faults a request can ask for, parsed once to a value; knows their spelling and not how they are committed."""

from collections.abc import Callable
from dataclasses import dataclass

from extproc.errors import ConfigurationError

FAULT_HELP = (
    "status=CODE answers that status; hang or hang=SECONDS says nothing until the client leaves or for so long; "
    "reset aborts the connection; die-mid-stream or die-mid-stream=EVENTS aborts it after some events; "
    "error-mid-stream or error-mid-stream=EVENTS sends vLLM's error event; split-writes cuts events anywhere; "
    "wrong-usage=FACTOR multiplies the reported usage; no-done leaves out [DONE]; crlf ends lines with CR LF; "
    "slow=SECONDS waits before each event; gzip compresses. Several are joined by commas. only=NAME among them strikes "
    "instances whose name begins so; others serve as usual."
)

DEFAULT_EVENTS = "3"
"""Events sent before a stream breaks where no number is given: the role, and some text."""


class UnknownFaultError(ConfigurationError):
    """A fault that is not spelled as `FAULT_HELP` has it; the message says which spellings exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong with one request; the defaults are: nothing."""

    status: int | None = None
    """Answer with this HTTP status and vLLM's error body."""
    hang_s: float | None = None
    """Real seconds of silence before going on; infinity waits until the client leaves."""
    reset: bool = False
    """Abort the TCP connection once the request is read."""
    die_after_events: int | None = None
    """Abort the TCP connection after so many events, or in the middle of a JSON body."""
    error_after_events: int | None = None
    """vLLM's mid-stream error after so many events, or status 500 for JSON."""
    split_writes: bool = False
    """Several events in one write, and one event over several writes."""
    usage_factor: float = 1.0
    """Multiplies every token count that `usage` reports."""
    no_done: bool = False
    """End the stream without `data: [DONE]`."""
    crlf: bool = False
    """End the lines of the stream with CR LF."""
    slow_s: float = 0.0
    """Real seconds before every event."""
    gzip: bool = False
    """Compress the response."""
    only: str = ""
    """How the name of an instance begins that these faults strike; a proxy may ask several."""

    def strikes(self, name: str) -> bool:
        """Whether the instance of this name commits them."""
        return name.startswith(self.only)


NO_FAULTS = Faults()


def parse_faults(text: str) -> Faults:
    """Read `name` or `name=value`, comma-separated; raises UnknownFaultError."""
    found: dict[str, int | float | bool | str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        try:
            field, read = _SPELLINGS[name]
            found[field] = read(value)
        except (KeyError, ValueError) as error:
            raise UnknownFaultError(f"Unknown fault. {FAULT_HELP}") from error
    return Faults(**found)  # type: ignore[arg-type]  # _SPELLINGS pairs each field with a reader of its type


def _status(value: str) -> int:
    return int(_bounded(float(int(value)), 400, 599))


def _events(value: str) -> int:
    return int(_bounded(float(int(value or DEFAULT_EVENTS)), 0, 1e6))


def _hang_s(value: str) -> float:
    return _bounded(float(value or "inf"), 0, float("inf"))


def _slow_s(value: str) -> float:
    return _bounded(float(value), 0, 3600)


def _factor(value: str) -> float:
    return _bounded(float(value), 0, 1e6)


def _flag(value: str) -> bool:
    if value:
        raise ValueError(value)
    return True


def _name(value: str) -> str:
    if not value:
        raise ValueError(value)
    return value


def _bounded(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ValueError(value)
    return value


_SPELLINGS: dict[str, tuple[str, Callable[[str], int | float | bool | str]]] = {
    "status": ("status", _status),
    "hang": ("hang_s", _hang_s),
    "reset": ("reset", _flag),
    "die-mid-stream": ("die_after_events", _events),
    "error-mid-stream": ("error_after_events", _events),
    "split-writes": ("split_writes", _flag),
    "wrong-usage": ("usage_factor", _factor),
    "no-done": ("no_done", _flag),
    "crlf": ("crlf", _flag),
    "slow": ("slow_s", _slow_s),
    "gzip": ("gzip", _flag),
    "only": ("only", _name),
}
