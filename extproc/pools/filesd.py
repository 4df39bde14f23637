"""Reads lists of instances in Prometheus's file_sd form, JSON or YAML; knows the form, not what is done with it.

    [{"targets": ["10.0.0.1:8000", "10.0.0.2:8000"], "labels": {"__scheme__": "https"}}]

Of the labels only `__scheme__` matters here. A target may also be a whole URL.
"""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from extproc import strictyaml
from extproc.pools.urls import Address, parse_address

LIST_MAX_BYTES = 256 * 1024
"""Many times what the largest pool needs. YAML of that size keeps a thread busy for about half a second."""
LIST_MAX_TARGETS = 4096
"""Also bounds what a small YAML file can be blown up to by its anchors."""
_SHOWN_CHARS = 60
_UNPARSED = (
    *(msgspec.MsgspecError, yaml.YAMLError, ValueError, RecursionError),
    *(ArithmeticError, LookupError, AttributeError),  # of PyYAML, where a tag does not fit its value
)


class Stamp(NamedTuple):
    """What tells one version of a file from another."""

    mtime_ns: int
    size_bytes: int
    inode: int


class ListError(Exception):
    """A list cannot be used; the message says why."""


def stamp_of(path: Path) -> Stamp:
    """The file's present version.

    Raises:
        ListError: there is no such file, or it cannot be looked at.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ListError(f"it cannot be read: {error.strerror}") from error
    return Stamp(status.st_mtime_ns, status.st_size, status.st_ino)


def read_list(path: Path) -> list[Address]:
    """The instances that a file names.

    Raises:
        ListError: it cannot be read, or is not in the form.
    """
    groups = _parsed(_content(path), as_json=path.suffix == ".json")
    if not isinstance(groups, list):
        raise ListError("it is not a list of groups with targets")
    addresses: list[Address] = []
    for group in groups:
        addresses += _targets(group, LIST_MAX_TARGETS - len(addresses))
    return addresses


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LIST_MAX_BYTES + 1)
    except OSError as error:
        raise ListError(f"it cannot be read: {error.strerror}") from error
    if len(content) > LIST_MAX_BYTES:
        raise ListError(f"it is larger than {LIST_MAX_BYTES} bytes")
    return content


def _parsed(content: bytes, *, as_json: bool) -> Any:
    try:
        return msgspec.json.decode(content) if as_json else strictyaml.load(content)
    except strictyaml.RepeatedKeyError as error:
        raise ListError(f"in one of its groups {error.problem}") from error
    except _UNPARSED as error:
        raise ListError(f"it is not {'JSON' if as_json else 'YAML'}") from error


def _targets(group: Any, room: int) -> list[Address]:
    targets = group.get("targets") if isinstance(group, dict) else None
    labels = group.get("labels") if isinstance(group, dict) else None
    if not isinstance(targets, list):
        raise ListError("one of its groups has no list of targets")
    if len(targets) > room:
        raise ListError(f"it names more than {LIST_MAX_TARGETS} targets")
    scheme = labels.get("__scheme__", "http") if isinstance(labels, dict) else "http"
    return [_address(target, str(scheme)) for target in targets]


def _address(target: Any, scheme: str) -> Address:
    if not isinstance(target, str):
        raise ListError("one of its targets is no string")
    try:
        return parse_address(target if "://" in target else f"{scheme}://{target}")
    except ValueError as error:
        raise ListError(f"its target {target[:_SHOWN_CHARS]!r} cannot be used: {error}") from error
