"""Lists of instances are read in Prometheus's form, and a bad one says what is wrong with it."""

import json
import os
from pathlib import Path

import pytest

from extproc.pools.filesd import LIST_MAX_BYTES, LIST_MAX_TARGETS, ListError, read_list, stamp_of


def write(folder: Path, name: str, content: str) -> Path:
    """A file with that content."""
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def urls(path: Path) -> list[str]:
    """What a list names."""
    return [str(address) for address in read_list(path)]


def test_json_as_prometheus_has_it(tmp_path: Path) -> None:
    """Groups of targets; of the labels only the scheme matters."""
    groups = [
        {"targets": ["10.0.0.1:8000", "10.0.0.2:8000"], "labels": {"job": "vllm", "team": "a"}},
        {"targets": ["vllm-3:8443"], "labels": {"__scheme__": "https"}},
        {"targets": ["https://gateway/short"]},
        {"targets": []},
    ]
    path = write(tmp_path, "short.json", json.dumps(groups))
    expected = ["http://10.0.0.1:8000", "http://10.0.0.2:8000", "https://vllm-3:8443", "https://gateway:443/short"]
    assert urls(path) == expected


@pytest.mark.parametrize("name", ["short.yaml", "short.yml", "short"])
def test_yaml_as_prometheus_has_it(tmp_path: Path, name: str) -> None:
    """Whatever is not called .json is YAML."""
    text = "- targets: ['10.0.0.1:8000']\n  labels:\n    job: vllm\n- targets:\n  - '[::1]:8000'\n"
    assert urls(write(tmp_path, name, text)) == ["http://10.0.0.1:8000", "http://[::1]:8000"]


def test_an_empty_list_is_a_list(tmp_path: Path) -> None:
    """A pool without instances is possible."""
    assert urls(write(tmp_path, "short.json", "[]")) == []


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", "", "not JSON"),
        ("a.json", '[{"targets": ["10.0.0.1:80', "not JSON"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.yaml", "[" * 2_000, "not YAML"),
        ("a.yaml", "- targets: [", "not YAML"),
        ("a.yaml", "- targets: [a:1]\n  targets: [b:1]", "the key 'targets' stands in line 1 already"),
        ("a.yaml", "- targets: [!!timestamp x]", "not YAML"),
        ("a.yaml", "- targets: [!!bool x]", "not YAML"),
        ("a.yaml", "", "not a list"),
        ("a.json", '{"targets": ["10.0.0.1:80"]}', "not a list"),
        ("a.json", '["10.0.0.1:80"]', "no list of targets"),
        ("a.json", '[{"target": ["10.0.0.1:80"]}]', "no list of targets"),
        ("a.json", '[{"targets": "10.0.0.1:80"}]', "no list of targets"),
        ("a.yaml", "- targets: [8000]", "no string"),
        ("a.json", '[{"targets": ["10.0.0.1:99999"]}]', "'10.0.0.1:99999' cannot be used: its port"),
        ("a.json", '[{"targets": ["h"], "labels": {"__scheme__": "gopher"}}]', "http://"),
        ("a.json", " " * (LIST_MAX_BYTES + 1), "larger than"),
        ("a.yaml", f"- &a {{targets: [{'h, ' * 100}]}}\n" + "- *a\n" * (LIST_MAX_TARGETS // 100), "more than"),
    ],
    ids=range(18),
)
def test_a_bad_list_says_why(tmp_path: Path, name: str, content: str, why: str) -> None:
    """Every kind of mistake is one sentence, and anchors blow nothing up."""
    with pytest.raises(ListError, match=why):
        read_list(write(tmp_path, name, content))


def test_a_file_that_is_no_text_is_no_list(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are bad content like any other."""
    for name in ("a.json", "a.yaml"):
        (tmp_path / name).write_bytes(b'["\xff\xfe"]')
        with pytest.raises(ListError, match="it is not"):
            read_list(tmp_path / name)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """Looking at it and reading it fail alike."""
    with pytest.raises(ListError, match="No such file"):
        stamp_of(tmp_path / "none.json")
    with pytest.raises(ListError, match="No such file"):
        read_list(tmp_path / "none.json")


def test_every_change_of_a_file_shows(tmp_path: Path) -> None:
    """Another time, size or file behind the same name make another stamp."""
    path = write(tmp_path, "a.json", "[]")
    stamps = [stamp_of(path)]
    os.utime(path, ns=(1, 1))
    stamps.append(stamp_of(path))
    write(tmp_path, "a.json", "[ ]")
    os.utime(path, ns=(1, 1))
    stamps.append(stamp_of(path))
    other = write(tmp_path, "b.json", "[ ]")
    os.utime(other, ns=(1, 1))
    other.replace(path)
    stamps.append(stamp_of(path))
    assert len(set(stamps)) == 4
    assert stamp_of(path) == stamps[-1]
