"""Machine-made text for the demo: log lines, JSON records, CSV rows, base64; all drawn from a generator passed in.

It knows how such text looks, not what is done with it.
"""

import base64
import json
from random import Random

_SERVICES = ("billing", "gateway", "catalogue", "inventory", "mailer", "scheduler", "search", "sessions")
_LEVELS = ("DEBUG", "INFO", "INFO", "INFO", "WARN", "ERROR")
_EVENTS = (
    "connection reset by peer, trying again in a moment",
    "request finished and the answer was sent",
    "cache entry expired and was read anew from the store",
    "query took longer than it should, consider an index",
    "worker started and waits for its first job",
    "token was refreshed on behalf of the client",
    "queue is longer than its soft limit, slowing down the producers",
    "checkpoint written to disk",
)
_CITIES = ("Aarhus", "Bilbao", "Cork", "Gdansk", "Izmir", "Lyon", "Porto", "Turku", "Utrecht", "Varna")
_NAMES = ("Amari", "Bruun", "Castro", "Dietz", "Ekdal", "Fabre", "Grieg", "Horvat", "Ibarra", "Janssen", "Kaya", "Lund")
_ARTICLES = ("desk lamp", "bicycle pump", "oak shelf", "tea kettle", "rain jacket", "garden hose", "steel ruler")
_TAGS = ("fragile", "express", "gift", "insured", "recurring", "return", "sample", "wholesale")
_BASE64_LINE_BYTES = 57
"""Makes 76 characters, the line length of MIME (RFC 2045)."""


def log_line(rng: Random) -> str:
    """One line of a service's log, with time, client, request and duration."""
    address = ".".join(str(rng.randrange(1, 255)) for _ in range(4))
    return (
        f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T{_clock(rng)}.{rng.randrange(1000):03}Z "
        f"{rng.choice(_LEVELS)} {rng.choice(_SERVICES)} [{rng.randrange(300, 32000)}]: {rng.choice(_EVENTS)} "
        f"(client {address}, request {rng.getrandbits(32):08x}, status {rng.choice((200, 200, 204, 304, 404, 503))}, "
        f"took {rng.expovariate(1 / 40):.1f} ms)"
    )


def json_line(rng: Random) -> str:
    """One order as a JSON object on one line."""
    return json.dumps(_order(rng))


def json_block(rng: Random) -> str:
    """One order as an indented JSON object."""
    return json.dumps(_order(rng), indent=2)


def csv_row(rng: Random) -> str:
    """One row of readings: a sensor, a time in seconds and six numbers."""
    readings = ",".join(f"{rng.gauss(40, 12):.3f}" for _ in range(6))
    return f"S{rng.randrange(10_000):04},{rng.randrange(1_780_000_000, 1_790_000_000)},{readings}"


def base64_line(rng: Random) -> str:
    """One line of a binary file in base64."""
    return base64.b64encode(rng.randbytes(_BASE64_LINE_BYTES)).decode()


def _order(rng: Random) -> dict[str, object]:
    return {
        "status": rng.choice(("received", "packed", "shipped", "delivered", "returned")),
        "reference": f"{rng.choice('ABKMX')}{rng.randrange(10_000)}",
        "customer": {"name": f"{rng.choice(_NAMES)} {rng.choice(_NAMES)}", "city": rng.choice(_CITIES), "vip": False},
        "lines": [_order_line(rng) for _ in range(rng.randrange(1, 4))],
        "tags": rng.sample(_TAGS, rng.randrange(3)),
        "last_event": {"service": rng.choice(_SERVICES), "message": rng.choice(_EVENTS)},
        "note": None,
    }


def _order_line(rng: Random) -> dict[str, object]:
    return {"article": rng.choice(_ARTICLES), "quantity": rng.randrange(1, 20), "price": f"{rng.randrange(5, 500)} EUR"}


def _clock(rng: Random) -> str:
    return f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
