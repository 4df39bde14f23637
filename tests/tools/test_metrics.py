import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from extproc.telemetry.names import INSTRUMENTS

SCRIPT = Path(__file__).parents[2] / "tools" / "metrics.py"


@pytest.fixture
def metrics() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("metrics", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_that_of_the_table(metrics: ModuleType) -> None:
    """What is committed is what writing it afresh gives."""
    assert metrics.TARGET.read_text() == metrics.document(), "run `python tools/metrics.py --write`"


def test_every_metric_has_its_row(metrics: ModuleType) -> None:
    """By its name on a scrape, and with the values its labels can have."""
    document = metrics.document()
    for instrument in INSTRUMENTS:
        assert f"\n| `{instrument.prometheus_name}` | {instrument.kind} | " in document
        for label in instrument.labels:
            assert all(f"`{value}`" in document for value in label.values)
