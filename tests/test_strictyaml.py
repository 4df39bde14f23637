from typing import Any

import pytest
import yaml

from extproc import strictyaml


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a: 1\nb: 2\na: 3", "'a' stands in line 1", 3),
        ("a: 1\n'a': 3", "'a' stands in line 1", 2),
        ("- x\n- {b: 1, c: 2,\n   b: 1}", "'b' stands in line 2", 3),
        ("a:\n  b:\n    c: 1\n    c: 1", "'c' stands in line 3", 4),
        ("1: a\n1: b", "'1' stands in line 1", 2),
        (f"{'k' * 200}: 1\n{'k' * 200}: 2", f"'{'k' * 60}' stands in line 1", 2),
    ],
)
def test_a_repeated_key_is_refused(text: str, key: str, line: int) -> None:
    """Wherever it stands and however it is quoted; the error has the key, and the lines of both."""
    with pytest.raises(strictyaml.RepeatedKeyError, match=f"the key {key} already") as raised:
        strictyaml.load(text)
    assert raised.value.problem_mark is not None
    assert raised.value.problem_mark.line + 1 == line


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nA: 2\n'1': 3\n1: 4",
        "- {a: 1}\n- {a: 2}",
        "base: &base {a: 1, b: 2}\nown: {<<: *base, a: 3}",
        "x: {y: &y {<<: {k: 1}, k: 2}}\nz: {<<: *y, k: 3}",
        "one: &one {a: 1}\ntwo: &two {b: 1}\nboth:\n  <<: *one\n  <<: *two",
        "? [1, 2]\n: a",
        "",
    ],
)
def test_all_else_is_read_as_before(text: str) -> None:
    """The same key in two mappings, and one of its own beside a merged one, are what they are meant to be."""
    assert outcome(strictyaml.load, text) == outcome(yaml.safe_load, text)


def outcome(load: Any, text: str) -> Any:
    """What is read, or the error that it is."""
    try:
        return load(text)
    except yaml.YAMLError as error:
        return str(error)
