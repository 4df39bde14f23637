"""Typed Envoy configuration → YAML as people write it, with a reason above each value that has one.

Knows protobuf's JSON names and YAML's layout; must not know what any setting means.

A reason is looked up by a selector, which works as in CSS: words that name a value's ancestors in order, then the
value itself. `clusters short connect_timeout` is the connect timeout anywhere below the cluster named `short`. A list's
entry goes by its `name`, else by its index. Of several selectors that fit, the one with most words speaks. A field at
its protobuf default is written only where a reason speaks for it.
"""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

import betterproto2
import yaml

WIDTH = 120
ONE_LINE = 110
"""A part without reasons inside is written on one line if it is no longer than this."""

Path: TypeAlias = tuple[str, ...]


def to_yaml(message: betterproto2.Message, why: Mapping[str, str], heading: str) -> str:
    """The message as a YAML document below `heading`, itself a comment."""
    return "\n".join([*_comment(heading, 0), *_mapping(as_plain(message, why), (), why, 0)]) + "\n"


def under(scope: str, why: Mapping[str, str]) -> dict[str, str]:
    """The same reasons, for values below `scope` only."""
    return {f"{scope} {selector}": reason for selector, reason in why.items()}


def as_plain(message: betterproto2.Message, why: Mapping[str, str]) -> dict[str, Any]:
    """Protobuf's JSON form with field names as Envoy's documentation writes them."""
    every_field = message.to_dict(casing=betterproto2.Casing.SNAKE, include_default_values=True)
    set_fields = message.to_dict(casing=betterproto2.Casing.SNAKE)
    return cast("dict[str, Any]", _said_aloud(set_fields, every_field, (), why))


def _said_aloud(given: Any, every: Any, path: Path, why: Mapping[str, str]) -> Any:
    """`given`, with those defaults of `every` that have a reason."""
    if isinstance(given, list):
        names = [name for name, _ in _children(given)]
        entries = zip(given, every, names, strict=True)
        return [_said_aloud(entry, full, (*path, name), why) for entry, full, name in entries]
    if not isinstance(given, dict):
        return given
    return {
        key: _said_aloud(given[key], value, (*path, key), why) if key in given else value
        for key, value in every.items()
        if key in given or (_is_scalar(value) and selector_for((*path, key), why))
    }


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, (dict, list))


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value in a plain form with its path, the root aside."""
    for name, child in _children(value):
        yield (*path, name), child
        yield from walk(child, (*path, name))


def selector_for(path: Path, why: Mapping[str, str]) -> str | None:
    """The most specific selector that fits this path, if any does."""
    fitting = [selector for selector in why if _fits(selector.split(), path)]
    return max(fitting, key=lambda selector: len(selector.split()), default=None)


def _fits(words: list[str], path: Path) -> bool:
    if words[-1] != path[-1]:
        return False
    ancestors = iter(path[:-1])
    return all(word in ancestors for word in words[:-1])


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list):
        return [(_entry_name(entry, index), entry) for index, entry in enumerate(value)]
    return []


def _entry_name(entry: Any, index: int) -> str:
    return str(entry["name"]) if isinstance(entry, dict) and "name" in entry else str(index)


def _mapping(value: dict[str, Any], path: Path, why: Mapping[str, str], depth: int) -> Iterator[str]:
    for key, child in value.items():
        here = (*path, key)
        yield from _reason(here, why, depth)
        name = f"{_indent(depth)}{_on_one_line(key)}:"
        one_line = f"{name} {_on_one_line(child)}"
        if not _children(child) or (len(one_line) <= ONE_LINE and not _has_reasons(child, here, why)):
            yield one_line
            continue
        yield name
        yield from _block(child, here, why, depth + 1)


def _block(value: Any, path: Path, why: Mapping[str, str], depth: int) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _mapping(value, path, why, depth)
        return
    for name, entry in _children(value):
        yield from _entry(entry, (*path, name), why, depth)


def _entry(entry: Any, path: Path, why: Mapping[str, str], depth: int) -> Iterator[str]:
    yield from _reason(path, why, depth)
    one_line = f"{_indent(depth)}- {_on_one_line(entry)}"
    if not _children(entry) or (len(one_line) <= WIDTH and not _has_reasons(entry, path, why)):
        yield one_line
        return
    dash = f"{_indent(depth)}- "
    for line in _block(entry, path, why, depth + 1):
        # The dash takes the place of the first key's indent; a reason above that key stays above the dash.
        is_comment = line.lstrip().startswith("#")
        yield _indent(depth) + line.lstrip() if dash and is_comment else (dash + line.lstrip() if dash else line)
        dash = dash if is_comment else ""


def _reason(path: Path, why: Mapping[str, str], depth: int) -> list[str]:
    selector = selector_for(path, why)
    return _comment(why[selector], depth) if selector else []


def _has_reasons(value: Any, path: Path, why: Mapping[str, str]) -> bool:
    return any(selector_for(inner, why) for inner, _ in walk(value, path))


def _comment(text: str, depth: int) -> list[str]:
    prefix = f"{_indent(depth)}# "
    return [
        line.rstrip()
        for paragraph in text.split("\n")
        for line in textwrap.wrap(paragraph, WIDTH, initial_indent=prefix, subsequent_indent=prefix) or [prefix]
    ]


def _indent(depth: int) -> str:
    return "  " * depth


def _on_one_line(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
