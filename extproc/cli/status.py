"""`dualpool status`: how running services stand, asked over HTTP and shown on a terminal."""

import json
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Annotated, Any

import typer

from extproc.errors import ConfigurationError

_DEFAULT = "http://127.0.0.1:9464"
_TIMEOUT_S = 5.0
_WATCH_S = 2.0
_ANSWER_MAX_BYTES = 4 * 2**20
_CLEAR = "\x1b[H\x1b[2J"
"""Terminals begin anew at the top."""
_HTTP_URL = ("http://", "https://")


def status(
    urls: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[URL]...", help=f"Where `metrics_listen` is, one for each worker. [default: {_DEFAULT}]"
        ),
    ] = None,
    prints_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, one line for each URL.")] = False,  # noqa: FBT002 - a flag
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every 2 s, until Ctrl-C.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Show how running services stand: threshold, pools, decisions, the promise, what was learned, settings and state.

    It asks /status, which is beside /metrics; the same stands as a page for browsers at /. Exits with 2 where nothing
    answers.

    Example: dualpool status http://10.0.0.7:9464 10.0.0.7:9465 --watch
    """
    places = [_url(text) for text in urls or [_DEFAULT]]
    while True:
        shown, complaints = _shown(places, as_json=prints_json)
        if watch and sys.stdout.isatty():
            typer.echo(_CLEAR, nl=False)
        typer.echo("\n".join([*shown, *complaints] if watch else shown), nl=watch)
        if not watch:
            break
        time.sleep(_WATCH_S)
    if complaints:
        raise ConfigurationError("; ".join(complaints))


def _shown(places: list[str], *, as_json: bool) -> tuple[list[str], list[str]]:
    """What those say that answer, and what is wrong with the others."""
    shown, complaints = [], []
    for place in places:
        try:
            found = _fetch(place)
            shown.append(json.dumps({"url": place, **found}) + "\n" if as_json else _screen(place, found))
        except ConfigurationError as error:
            complaints.append(str(error))
    return shown, complaints


def _screen(place: str, found: dict[str, Any]) -> str:
    from extproc.telemetry.screen import as_text

    try:
        return as_text(place, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{place} answers with the status of another version of dualpool") from error


def _url(text: str) -> str:
    """A base URL; HOST:PORT is one too."""
    base = text if text.startswith(_HTTP_URL) else f"http://{text}"
    return base.rstrip("/").removesuffix("/status")


def _fetch(place: str) -> dict[str, Any]:
    """What `/status` says.

    Raises:
        ConfigurationError: nothing answers there, or nothing that is dualpool.
    """
    try:
        with urllib.request.urlopen(f"{place}/status", timeout=_TIMEOUT_S) as answer:  # noqa: S310 - HTTP by `_url`
            found = json.loads(answer.read(_ANSWER_MAX_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        raise ConfigurationError(f"{place}/status answers {error.code}: is that dualpool's metrics_listen?") from error
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", error)
        raise ConfigurationError(
            f"nothing answers at {place} ({why}): is the service running, and is that its metrics_listen?"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"what answers at {place} is not dualpool") from error
    if not isinstance(found, dict) or "decisions" not in found:
        raise ConfigurationError(f"what answers at {place} is not dualpool")
    return found
