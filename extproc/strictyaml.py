"""Reads YAML that people write by hand, and refuses what PyYAML takes silently; knows no file and no setting.

PyYAML lets the last of two equal keys win, so that of a file written twice over nobody sees which half holds.
"""

from typing import Any

import yaml

_SHOWN_CHARS = 60
_MERGE = "tag:yaml.org,2002:merge"
"""Of `<<`, which may stand more than once: what it brings is merged, and lost nowhere."""


class RepeatedKeyError(yaml.MarkedYAMLError):
    """A mapping has a key twice; `problem` names it and where it stood first."""


def load(text: str | bytes) -> Any:
    """The one document in a text, of plain types.

    Raises:
        RepeatedKeyError: a mapping has a key twice.
        yaml.YAMLError: it is not YAML.
        ValueError, ArithmeticError, LookupError, AttributeError, RecursionError: from PyYAML, of values that do not fit
            their tag.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader


class _Loader(yaml.SafeLoader):
    """Looks at keys as they are written, before those that `<<` brings stand among them."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], yaml.ScalarNode] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            first = seen.setdefault((key.tag, key.value), key)
            if first is not key:
                problem = f"the key {key.value[:_SHOWN_CHARS]!r} stands in line {first.start_mark.line + 1} already"
                raise RepeatedKeyError(problem=problem, problem_mark=key.start_mark)
        return node
