import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "drift.py"


@pytest.fixture
def drift() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("drift", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_compiled_protos_are_those_of_the_sources(drift: ModuleType) -> None:
    """What is committed is what a fresh compile gives, stubs included."""
    made = drift.fresh_proto()
    assert {name.partition(".")[2] for name in made} == {"py", "pyi"}
    assert list(drift.differences(drift.KINDS["proto"], made)) == []


def test_each_way_to_differ_names_the_file_and_the_command(drift: ModuleType) -> None:
    """A changed, a missing and a left-over file are told apart, and each says what to run."""
    kind = drift.KINDS["envoy"]
    made = {path.name: path.read_text() for path in drift.generated(kind)}
    assert list(drift.differences(kind, made)) == []
    assert list(drift.differences(kind, made | {"envoy.yaml": "old"})) == [
        "envoy/envoy.yaml is stale: run `make envoy-yaml`"
    ]
    assert list(drift.differences(kind, made | {"new.yaml": ""})) == [
        "envoy/new.yaml is missing: run `make envoy-yaml`"
    ]
    del made["envoy.yaml"]
    assert list(drift.differences(kind, made)) == ["envoy/envoy.yaml is no longer generated: run `make envoy-yaml`"]
